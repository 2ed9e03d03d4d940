"""The optimizer's numbers for a pipeline and its candidates, and the way back from its answer to places and times."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from sky_core.catalog import Catalog
from sky_core.errors import Infeasible
from sky_core.facts import facts_of, schemes
from sky_core.optimizer import Edge, Limit, Problem, Solution
from sky_core.optimizer.problem import objective_of
from sky_core.planner.candidates import Candidates
from sky_core.planner.capacity import LONGER, ending, limits
from sky_core.planner.deadlines import points_in_time, solve_in_time
from sky_core.planner.nodes import Pool
from sky_core.planner.offers import Location
from sky_core.planner.plan import Placement, Span, Transfer
from sky_core.spec import Artifact, Objective, OutputRef, Pipeline, Task


class Model:
    """The optimizer's problem for one pipeline and its candidates, and the way back from its solution.

    Attributes:
        counts: How many machines there are of those that are counted.
        held: How many of them others have.
        now: When the plan begins, seconds since the epoch.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        candidates: Mapping[str, Candidates],
        catalog: Catalog,
        counts: Mapping[Pool, int] | None = None,
        held: Mapping[Pool, int] | None = None,
        now: float | None = None,
    ) -> None:
        self.counts, self.held = counts or {}, held or {}
        self.now = time.time() if now is None else now
        self.pipeline = pipeline
        self.candidates = candidates
        self.catalog = catalog
        self.home = catalog.usual.home_place if catalog.usual else None
        self.due = points_in_time(pipeline)
        self.sources = {
            (task.name, name): (location, source.size_gb or 0.0)
            for task in pipeline.tasks
            for name, source in task.given.items()
            if (location := source_location(source, self.home)) is not None
        }
        used = {location for location, _ in self.sources.values()}
        for chosen in {id(chosen): chosen for chosen in candidates.values()}.values():
            used.update(chosen.locations[number] for number in np.unique(chosen.at).tolist())
        self.places: list[Location] = sorted(used)
        self.index = {place: number for number, place in enumerate(self.places)}
        self._at: dict[int, np.ndarray] = {}
        self._many: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    @cached_property
    def _per_gb(self) -> tuple[np.ndarray, np.ndarray, float]:
        return self.catalog.egress_per_gb([(cloud, region, None) for cloud, region in self.places])

    def flow(self, gb: float) -> tuple[np.ndarray, np.ndarray, float]:
        """(L, L) USD and hours of moving a unit between all places, and how many units ``gb`` are.

        Edges share their matrices: one of its own for each of thousands would take gigabytes.
        """
        usd, hours, most_gb = self._per_gb
        if gb <= most_gb:
            return usd, hours, gb
        if gb not in self._many:  # so much that the price per GB falls
            self._many[gb] = self.catalog.egress([(cloud, region, None) for cloud, region in self.places], gb)
        return *self._many[gb], 1.0

    def at(self, chosen: Candidates) -> np.ndarray:
        """(C,) the place of each candidate."""
        if id(chosen) not in self._at:
            number = np.array([self.index.get(place, -1) for place in chosen.locations])
            self._at[id(chosen)] = number[chosen.at]
        return self._at[id(chosen)]

    @cached_property
    def problem(self) -> Problem:
        """The numbers; a given input's egress is part of the task's own cost."""
        cost, hours, location = {}, {}, {}
        for task in self.pipeline.tasks:
            chosen = self.candidates[task.name]
            at = self.at(chosen)
            usd, delay = self.input_egress(task, at)
            cost[task.name], hours[task.name], location[task.name] = chosen.cost + usd, chosen.hours + delay, at
        data = self.pipeline.data_edges()
        edges = [Edge(parent, child, *self.flow(data.get((parent, child), 0.0)))
                 for parent, child in self.pipeline.edges()]  # fmt: skip
        return Problem([task.name for task in self.pipeline.tasks], cost, hours, location, edges)

    @property
    def at_worst(self) -> Problem:
        """The same with each task's cost at worst."""
        extra = {name: chosen.worst - chosen.cost for name, chosen in self.candidates.items()}
        return replace(self.problem, cost={name: cost + extra[name] for name, cost in self.problem.cost.items()})

    def input_egress(self, task: Task, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(C,) USD and hours for the task's given inputs to reach each of the locations ``at``."""
        usd, hours = np.zeros(len(at)), np.zeros(len(at))
        for name in task.given:
            if (task.name, name) in self.sources:
                source, gb = self.sources[task.name, name]
                price, delay, units = self.flow(gb)
                usd += units * price[self.index[source], at]
                hours = np.maximum(hours, units * delay[self.index[source], at])
        return usd, hours

    def solve(
        self,
        objective: Objective,
        blocked: Mapping[str, np.ndarray] | None = None,
        time_limit_s: float = 60.0,
    ) -> Solution:
        """The best plan for the objective; after ``time_limit_s`` CPU seconds the best so far.

        A task that begins too late for the reservation it would be in is kept out of it, and the rest solved again: a
        plan that shifts others for its sake is not looked for, so that what comes of it is not proven to be the best.

        Raises:
            Infeasible: if a task would outlast all that it can run on, or the objective's limits cannot be kept.
        """
        found = first = self._solve(objective, blocked, time_limit_s)
        shut = dict(blocked or {})
        while late := self._late(found):
            for name in late:
                number, chosen = found.choice[name], self.candidates[name]
                shut[name] = shut.get(name, np.zeros(len(chosen), dtype=bool)) | (np.arange(len(chosen)) == number)
                if shut[name].all():
                    ends = ending(chosen.placement(number, name))
                    message = f"Task.{name}: it begins too late for all that fits: {ends}"
                    raise Infeasible("until", None, message, cure=LONGER)
            found = self._solve(objective, shut, time_limit_s)
        if found is first:
            return found
        value = objective_of(objective.minimize, found.cost, found.hours)
        return replace(found, bound=first.bound, optimal=first.optimal and value <= first.bound)

    @cached_property
    def _some_end(self) -> bool:
        return any(bool(np.isfinite(chosen.ends).any()) for chosen in self.candidates.values())

    def _late(self, solution: Solution) -> list[str]:
        """Tasks that may not be done when their reservation ends."""
        late: list[str] = []
        if not self._some_end:
            return late
        for name, number in solution.choice.items():
            chosen = self.candidates[name]
            done = solution.finish[name] + max(0.0, float(chosen.at_most[number] - chosen.hours[number]))
            if self.now + 3600 * done > chosen.ends[number]:
                late.append(name)
        return late

    def _solve(self, objective: Objective, blocked: Mapping[str, np.ndarray] | None, time_limit_s: float) -> Solution:
        """:meth:`solve` without a look at how long reservations last.

        Tasks that can only run on machines of which there are too few are planned there all the same: they queue.
        """

        def ask(limits: Sequence[Limit]) -> Solution:
            return solve_in_time(
                self.problem,
                self.due,
                objective.deadline_hours(),
                minimize=objective.minimize,
                budget_usd=objective.budget_usd,
                blocked=blocked,
                time_limit_s=time_limit_s,
                limits=limits,
            )

        try:
            return ask(self.limits)
        except Infeasible as error:
            if not any(limit.name in error.constraint for limit in self.limits):
                raise
            return ask(())

    @cached_property
    def limits(self) -> list[Limit]:
        """The counts that tasks which run at the same time share."""
        return limits(self.pipeline, self.candidates, self.counts, self.held)

    def transfers(self, solution: Solution) -> tuple[Transfer, ...]:
        """What reaches each task and from where: one record for each edge and each given input."""
        at = {name: int(self.problem.location[name][number]) for name, number in solution.choice.items()}
        data, tasks = self.pipeline.data_edges(), {task.name: task for task in self.pipeline.tasks}
        parents: dict[str, list[str]] = {name: [] for name in tasks}
        for parent, child in self.pipeline.edges():
            parents[child].append(parent)
        found = []
        for task in self.pipeline.tasks:
            here = at[task.name]
            for parent in parents[task.name]:
                gb = data.get((parent, task.name), 0.0)
                taken = {name: source.output for name, source in task.inputs.items()
                         if isinstance(source, OutputRef) and source.task == parent}  # fmt: skip
                sized = all(tasks[parent].outputs[output].size_gb is not None for output in taken.values())
                found.append(self._transfer(task.name, parent, tuple(taken), at[parent], here, gb, sized))
            for name, source in task.given.items():
                if (task.name, name) in self.sources:
                    place, gb = self.sources[task.name, name]
                    sized = source.size_gb is not None
                    found.append(self._transfer(task.name, None, (name,), self.index[place], here, gb, sized))
        return tuple(found)

    def _transfer(
        self, task: str, source: str | None, inputs: tuple[str, ...], there: int, here: int, gb: float, sized: bool
    ) -> Transfer:
        usd, hours, units = self.flow(gb)
        return Transfer(
            task=task,
            source=source,
            inputs=inputs,
            origin=self.places[there],
            gb=gb,
            sized=sized,
            usd=units * float(usd[there, here]),
            hours=units * float(hours[there, here]),
        )

    def placements(self, solution: Solution) -> dict[str, Placement]:
        """The chosen candidates with the egress that reaches each of them."""
        usd = dict.fromkeys(solution.choice, 0.0)
        hours = dict.fromkeys(solution.choice, 0.0)
        for transfer in self.transfers(solution):
            usd[transfer.task] += transfer.usd
            hours[transfer.task] = max(hours[transfer.task], transfer.hours)
        return {
            task.name: self.candidates[task.name]
            .placement(solution.choice[task.name], task.name)
            .model_copy(update={"egress_usd": usd[task.name], "transfer_hours": hours[task.name]})
            for task in self.pipeline.tasks
        }

    def schedule(self, solution: Solution) -> dict[str, Span]:
        """When each task's machine is needed, and how much later it could be done without ending the plan later."""
        problem, choice = self.problem, solution.choice
        at = {name: int(problem.location[name][number]) for name, number in choice.items()}
        run = {name: float(problem.hours[name][number]) for name, number in choice.items()}
        latest = dict.fromkeys(choice, solution.hours)
        for child in reversed(problem.order):
            for edge in problem.parents[child]:
                delay = edge.units * float(edge.hours[at[edge.parent], at[child]])
                latest[edge.parent] = min(latest[edge.parent], latest[child] - run[child] - delay)
        return {
            task.name: Span(
                start=max(0.0, end - float(self.candidates[task.name].hours[choice[task.name]])),
                end=end,
                slack=max(0.0, latest[task.name] - end),
            )
            for task in self.pipeline.tasks
            for end in (solution.finish[task.name],)
        }


def source_location(artifact: Artifact, home: Location | None = None) -> Location | None:
    """Where a given artifact lives as far as can be told: its ``location`` field, else its scheme's cloud.

    The region of a bucket that is not told is not guessed: the artifact counts as lying in the region of ``home`` if
    that is in the same cloud, else in the cloud's default region (us-east-1, us-central1, eastus).
    """
    if artifact.location is not None:
        cloud, _, region = artifact.location.partition("/")
        return cloud, region or _region_of(cloud, home)
    scheme = (artifact.uri or "").partition("://")[0]
    owner = schemes().get(scheme)
    return None if owner is None else (owner.name, _region_of(owner.name, home))


def _region_of(cloud: str, home: Location | None) -> str:
    return home[1] if home and home[0] == cloud else facts_of(cloud).default_region
