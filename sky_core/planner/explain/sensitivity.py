"""What a plan takes for granted, and how far off it may be before another plan would be better.

One default at a time (the hours of a task, or the GB of data, that nobody told) is made larger and smaller, and the
pipeline is planned anew with it: the turn is where a plan comes out that beats this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from time import thread_time

from sky_core.errors import SkyloomError
from sky_core.estimate.estimate import DEFAULT_HOURS
from sky_core.optimizer import Solution
from sky_core.optimizer.problem import assess, objective_of
from sky_core.planner.candidates import Candidates, Shelf
from sky_core.planner.deadlines import fast_enough
from sky_core.planner.model import Model
from sky_core.planner.plan import Guess, Placement
from sky_core.spec import Artifact, Objective, Pipeline, Task

LOOK_S = 3.0  # CPU seconds for all defaults; those whose turn does not come are told without a turn
SOLVE_S = 0.5
LONGER, SHORTER = (2.0, 4.0, 8.0, 16.0, 32.0), (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)  # times the default hours
LARGER_GB = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
NEAR = 1.02  # a turn is told to within two percent
HALVINGS = 8  # of the last step at most, for a turn near zero
SAME = 1e-6  # relative: what is better by less is not better

Better = Callable[[float], str | None]  # what would be better at that value; None where the plan stays the best


@dataclass(frozen=True)
class Sensitivity:
    """A plan and what it was made from."""

    model: Model
    shelf: Shelf
    solution: Solution
    objective: Objective

    def guesses(self) -> tuple[Guess, ...]:
        """The plan's defaults, each with its turns; tasks that nothing tells apart share theirs."""
        end, known, found = thread_time() + LOOK_S, dict[Hashable, Guess](), []
        for bare, better, steps in self._defaults():
            like = (*self._like(bare.task), bare.what)
            if like not in known and thread_time() < end:
                known[like] = _turns(bare, better, *steps)
            told = known.get(like, bare)
            found.append(told.model_copy(update={"task": bare.task}))
        return tuple(found)

    def _defaults(self) -> Iterable[tuple[Guess, Better, tuple[tuple[float, ...], tuple[float, ...]]]]:
        """Each default without its turns, how to ask for them, and the steps down and up to look at."""
        for task in self.model.pipeline.tasks:
            if len(self.model.candidates[task.name]) == 1:
                continue  # nothing to choose
            if self._chosen(task.name).hours_source.startswith("default"):
                steps = tuple(DEFAULT_HOURS * k for k in SHORTER), tuple(DEFAULT_HOURS * k for k in LONGER)
                yield Guess(task=task.name, what="hours", assumed=DEFAULT_HOURS), self._if_longer(task), steps
        taken = {(move.source, name) for move in self.model.transfers(self.solution) for name in self._read(move.task)
                 if move.source is not None}  # fmt: skip
        for task in self.model.pipeline.tasks:
            if any((task.name, name) in taken for name, output in task.outputs.items() if output.size_gb is None):
                yield Guess(task=task.name, what="output_gb", assumed=0.0), self._if_larger(task), ((), LARGER_GB)
            if any((task.name, name) in self.model.sources for name in _unsized(task)):
                yield Guess(task=task.name, what="input_gb", assumed=0.0), self._if_more(task), ((), LARGER_GB)

    def _read(self, task: str) -> list[str]:
        """The outputs of other tasks that a task reads."""
        inputs = self.model.pipeline.task(task).inputs.values()
        return [source.output for source in inputs if not isinstance(source, Artifact)]

    def _like(self, name: str) -> tuple[Hashable, ...]:
        """What is the same for tasks whose defaults turn at the same values: needs, place and edges."""
        task, here = self.model.pipeline.task(name), self._chosen(name)
        needs = task.model_dump_json(exclude={"name", "run", "setup", "envs", "secrets", "inputs", "workdir"})
        edges = sorted((move.source == name, move.origin, self._chosen(move.task).location, move.gb, move.sized)
                       for move in self.model.transfers(self.solution) if name in (move.source, move.task))  # fmt: skip
        return needs, here.machine, tuple(edges)

    def _chosen(self, name: str) -> Placement:
        return self.model.candidates[name].placement(self.solution.choice[name], name)

    def _if_longer(self, task: Task) -> Better:
        def better(hours: float) -> str | None:
            longer = task.model_copy(update={"hours": hours})
            candidates = {**self.model.candidates, task.name: fast_enough(longer, self.shelf.candidates(longer))}
            return self._beaten_in(self._model(self.model.pipeline, candidates), task.name)

        return better

    def _if_larger(self, task: Task) -> Better:
        def better(gb: float) -> str | None:
            outputs = {name: output if output.size_gb is not None else output.model_copy(update={"size_gb": gb})
                       for name, output in task.outputs.items()}  # fmt: skip
            return self._beaten_in(self._with(task.model_copy(update={"outputs": outputs})), task.name)

        return better

    def _if_more(self, task: Task) -> Better:
        def better(gb: float) -> str | None:
            inputs = {**task.inputs, **{name: given.model_copy(update={"size_gb": gb})
                                        for name, given in _unsized(task).items()}}  # fmt: skip
            return self._beaten_in(self._with(task.model_copy(update={"inputs": inputs})), task.name)

        return better

    def _with(self, changed: Task) -> Model:
        tasks = tuple(changed if task.name == changed.name else task for task in self.model.pipeline.tasks)
        pipeline: Pipeline = self.model.pipeline.model_copy(update={"tasks": tasks})
        return self._model(pipeline, self.model.candidates)

    def _model(self, pipeline: Pipeline, candidates: Mapping[str, Candidates]) -> Model:
        return Model(pipeline, candidates, self.model.catalog, self.model.counts, self.model.held, self.model.now)

    def _beaten_in(self, model: Model, task: str) -> str | None:
        """What a plan that beats this one in another model gives the task, or whom else something; or None."""
        try:
            other = model.solve(self.objective, time_limit_s=SOLVE_S)
        except SkyloomError:
            return "no plan at all"
        if other.hours > 0 and self._worth_here(model) <= self._worth(other.cost, other.hours) * (1 + SAME):
            return None
        places = {name: model.candidates[name].placement(number, name) for name, number in other.choice.items()}
        moved = {name: place.machine for name, place in places.items() if not _alike(place, self._chosen(name))}
        return _told(moved, task) if moved else None

    def _worth_here(self, model: Model) -> float:
        """The objective if every task stays where this plan has it; infinite if one cannot, or a limit breaks."""
        choice = {}
        for name, candidates in model.candidates.items():
            if candidates is self.model.candidates[name]:
                choice[name] = self.solution.choice[name]
                continue
            own = self._chosen(name)
            same = [n for n in range(len(candidates)) if _alike(candidates.placement(n, name), own)]
            if not same:
                return math.inf
            choice[name] = same[0]
        cost, finish = assess(model.problem, choice)
        return self._worth(cost, max(finish.values()))

    def _worth(self, cost: float, hours: float) -> float:
        deadline, budget = self.objective.deadline_hours(), self.objective.budget_usd
        if (deadline is not None and hours > deadline * (1 + SAME)) or (
            budget is not None and cost > budget * (1 + SAME)
        ):
            return math.inf
        return objective_of(self.objective.minimize, cost, hours)


def _told(moved: Mapping[str, str], task: str) -> str:
    """Machines by task in words: the task's own where it moves, else one of the others' with its name."""
    name = task if task in moved else next(iter(moved))
    first = moved[name] if name == task else f"{name} on {moved[name]}"
    return first + (f" (and {len(moved) - 1} more elsewhere)" if len(moved) > 1 else "")


def _unsized(task: Task) -> dict[str, Artifact]:
    """Given inputs of a task whose size nobody told."""
    return {name: given for name, given in task.inputs.items() if isinstance(given, Artifact) and given.size_gb is None}


def _alike(one: Placement, other: Placement) -> bool:
    """Whether two placements differ in their zones at most."""
    names = ("cloud", "region", "instance_type", "accelerator", "accelerator_count", "use_spot")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _turns(bare: Guess, better: Better, down: tuple[float, ...], up: tuple[float, ...]) -> Guess:
    below, above = _turn(bare.assumed, down, better), _turn(bare.assumed, up, better)
    looked_at = (down[-1] if down else bare.assumed, up[-1] if up else bare.assumed)
    found = {"below": below[0], "below_then": below[1], "above": above[0], "above_then": above[1]}
    return bare.model_copy(update={**found, "looked_at": looked_at})


def _turn(start: float, steps: tuple[float, ...], better: Better) -> tuple[float | None, str]:
    """The value up to which nothing is better than the plan, and what is beyond; (None, "") if there is none."""
    last = start
    for step in steps:
        then = better(step)
        if then is not None:
            return _narrowed(last, step, then, better)
        last = step
    return None, ""


def _narrowed(kept: float, turned: float, then: str, better: Better) -> tuple[float, str]:
    for _ in range(HALVINGS):
        if 1 / NEAR <= turned / (kept or math.inf) <= NEAR:
            break
        middle = math.sqrt(kept * turned) if kept > 0 else turned / 2
        found = better(middle)
        if found is None:
            kept = middle
        else:
            turned, then = middle, found
    return (kept if kept > 0 else turned), then
