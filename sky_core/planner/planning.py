"""Planning a pipeline: candidates and egress in, the optimizer's choice out, with what it was chosen over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np

from sky_core.catalog import Catalog
from sky_core.errors import Infeasible, NoCloudEnabled
from sky_core.facts import facts_of, schemes
from sky_core.optimizer import Edge, Problem, Solution
from sky_core.planner.candidates import Candidates, Shelf, pinned
from sky_core.planner.candidates import freeze_hours as _freeze_task
from sky_core.planner.deadlines import fast_enough, points_in_time, solve_in_time
from sky_core.planner.offers import Location
from sky_core.planner.plan import Alternative, Block, Placement, Plan, dag_hash
from sky_core.planner.prudence import solve_prudently
from sky_core.spec import Artifact, Objective, Pipeline, Task
from sky_core.store import Run
from sky_core.tracker import Tracker


@dataclass(frozen=True)
class Market:
    """What planning knows of the world.

    Attributes:
        clouds: The clouds that may be used.
        left_out: Those that may not, each with the reason.
        blocked: What is not to be had for now.
        history: Past runs of each task, by name.
        tracker: What past launches and preemptions say of offerings.
    """

    catalog: Catalog
    clouds: Sequence[str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    blocked: Sequence[Block] = ()
    history: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    tracker: Tracker | None = None


@dataclass(frozen=True)
class SoFar:
    """How far a pipeline is that is planned anew.

    Attributes:
        begun_at: When it was first planned, seconds since the epoch.
        hours: Hours since then.
        left: Hours that tasks which stay where they are still need; 0 for those that are done.
    """

    begun_at: float
    hours: float
    left: Mapping[str, float]


def make_plan(
    pipeline: Pipeline,
    market: Market,
    objective: Objective | None = None,
    *,
    fixed: Mapping[str, Placement] | None = None,
    so_far: SoFar | None = None,
    reason: str = "first plan",
    explain: bool = False,
) -> Plan:
    """Place every task of a pipeline; tasks in ``fixed`` stay where they are, and need what ``so_far`` says.

    With ``explain`` the plan also says what each task's next-best kind of machine would cost: one more solve each.

    Raises:
        NoCloudEnabled: if ``market`` has no cloud left.
        UnknownAccelerator, NoFeasibleOffering: if a task has nothing to run on.
        Infeasible: if the objective's deadline or budget, or a task's deadline, cannot be met.
        SpecError: if a deadline is in the past.
    """
    if not market.clouds:
        reasons = "; ".join(f"{cloud}: {why}" for cloud, why in market.left_out.items())
        raise NoCloudEnabled(f"no cloud can be used: {reasons}", cure="set up one cloud's credentials, or the sandbox")
    goal = objective or Objective()
    now, fixed = time.time(), fixed or {}
    done = so_far or SoFar(now, 0.0, {})
    candidates = _candidates(pipeline, market, fixed, done)
    model = _Model(pipeline, candidates, market.catalog)
    rest = goal.model_copy(update={"deadline": _hours_left(goal, done)})
    first = {name: found.first for name, found in candidates.items()}
    solution = solve_prudently(model.solve, model.at_worst, first, rest)
    explained = [task.name for task in pipeline.tasks if task.name not in fixed] if explain else []
    return Plan(
        pipeline=pipeline.name,
        objective=goal,
        placements=model.placements(solution),
        cost_usd=solution.cost,
        hours=solution.hours,
        bound=solution.bound,
        optimal=solution.optimal,
        method=solution.method,
        single_cloud={cloud: _single_cloud_cost(model, cloud, rest, fixed) for cloud in market.clouds},
        next_best={name: _next_best(model, rest, solution, name) for name in explained},
        left_out=dict(market.left_out),
        catalog_version=market.catalog.version,
        dag_hash=dag_hash(pipeline),
        created_at=now,
        begun_at=done.begun_at,
        reason=reason,
    )


def _candidates(
    pipeline: Pipeline, market: Market, fixed: Mapping[str, Placement], done: SoFar
) -> dict[str, Candidates]:
    """What each task may run on; tasks with the same needs share it."""
    shelf = Shelf(market.catalog, market.clouds, blocked=market.blocked, history=market.history, tracker=market.tracker)
    return {
        task.name: pinned(fixed[task.name], done.left.get(task.name))
        if task.name in fixed
        else fast_enough(task, shelf.candidates(task))
        for task in pipeline.tasks
    }


def _hours_left(objective: Objective, so_far: SoFar) -> float | None:
    """Hours from now to the objective's deadline; one in hours counts from the first plan."""
    left = objective.deadline_hours()
    return left if left is None or isinstance(objective.deadline, datetime) else max(0.0, left - so_far.hours)


def freeze_hours(pipeline: Pipeline, market: Market) -> Pipeline:
    """The pipeline with estimates that can be stored: functions become tables of their values on the candidates."""
    tasks = tuple(_freeze_task(task, market.catalog, market.clouds) for task in pipeline.tasks)
    return pipeline.model_copy(update={"tasks": tasks})


class _Model:
    """The optimizer's problem for one pipeline and its candidates, and the way back from its solution."""

    def __init__(self, pipeline: Pipeline, candidates: Mapping[str, Candidates], catalog: Catalog) -> None:
        self.pipeline = pipeline
        self.candidates = candidates
        self.catalog = catalog
        self.due = points_in_time(pipeline)
        self.sources = {
            (task.name, name): (location, source.size_gb or 0.0)
            for task in pipeline.tasks
            for name, source in task.inputs.items()
            if isinstance(source, Artifact) and (location := source_location(source)) is not None
        }
        used = {place for chosen in candidates.values() for place in chosen.locations}
        used |= {location for location, _ in self.sources.values()}
        self.places: list[Location] = sorted(used)
        self.index = {place: number for number, place in enumerate(self.places)}
        self._egress: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def egress(self, gb: float) -> tuple[np.ndarray, np.ndarray]:
        """(L, L) USD and hours of moving ``gb`` between all places."""
        if gb not in self._egress:
            self._egress[gb] = self.catalog.egress([(cloud, region, None) for cloud, region in self.places], gb)
        return self._egress[gb]

    @cached_property
    def problem(self) -> Problem:
        """The numbers; a given input's egress is part of the task's own cost."""
        cost, hours, location = {}, {}, {}
        for task in self.pipeline.tasks:
            chosen = self.candidates[task.name]
            at = np.array([self.index[place] for place in chosen.locations])[chosen.at]
            usd, delay = self.input_egress(task, at)
            cost[task.name], hours[task.name], location[task.name] = chosen.cost + usd, chosen.hours + delay, at
        data = self.pipeline.data_edges()
        edges = [Edge(parent, child, *self.egress(data.get((parent, child), 0.0)))
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
        for name in task.inputs:
            if (task.name, name) in self.sources:
                source, gb = self.sources[task.name, name]
                price, delay = self.egress(gb)
                usd += price[self.index[source], at]
                hours = np.maximum(hours, delay[self.index[source], at])
        return usd, hours

    def solve(self, objective: Objective, blocked: Mapping[str, np.ndarray] | None = None) -> Solution:
        return solve_in_time(
            self.problem,
            self.due,
            objective.deadline_hours(),
            minimize=objective.minimize,
            budget_usd=objective.budget_usd,
            blocked=blocked,
        )

    def within(self, cloud: str, fixed: Mapping[str, Placement]) -> _Model | None:
        """The same pipeline on one cloud only, or None if a task cannot run there."""
        narrowed = {
            name: chosen if name in fixed else chosen.in_cloud(cloud) for name, chosen in self.candidates.items()
        }
        if not all(map(len, narrowed.values())):
            return None
        return _Model(self.pipeline, narrowed, self.catalog)

    def placements(self, solution: Solution) -> dict[str, Placement]:
        """The chosen candidates with the egress that reaches each of them."""
        chosen = {name: self.candidates[name].placement(number, name) for name, number in solution.choice.items()}
        data = self.pipeline.data_edges()
        placed = {}
        for task in self.pipeline.tasks:
            here = self.index[chosen[task.name].location]
            usd, hours = (float(values[0]) for values in self.input_egress(task, np.array([here])))
            for (parent, child), gb in data.items():
                if child == task.name:
                    price, delay = self.egress(gb)
                    there = self.index[chosen[parent].location]
                    usd += float(price[there, here])
                    hours = max(hours, float(delay[there, here]))
            placed[task.name] = chosen[task.name].model_copy(update={"egress_usd": usd, "transfer_hours": hours})
        return placed


def _single_cloud_cost(model: _Model, cloud: str, objective: Objective, fixed: Mapping[str, Placement]) -> float | None:
    narrowed = model.within(cloud, fixed)
    if narrowed is None:
        return None
    try:
        return narrowed.solve(objective).cost
    except Infeasible:
        return None


def _next_best(model: _Model, objective: Objective, solution: Solution, task: str) -> Alternative | None:
    """The plan without the kind of machine that a task was given: other zones of the same kind tell nobody much."""
    candidates = model.candidates[task]
    same = candidates.kind == candidates.kind[solution.choice[task]]
    try:
        other = model.solve(objective, blocked={task: same})
    except Infeasible:
        return None
    return Alternative(
        machine=candidates.placement(other.choice[task], task).machine,
        extra_usd=other.cost - solution.cost,
        extra_hours=other.hours - solution.hours,
    )


def source_location(artifact: Artifact) -> Location | None:
    """Where a given artifact lives as far as can be told: its ``location`` field, else its scheme's cloud.

    The region of a bucket that is not told is not guessed: the artifact counts as lying in the cloud's
    default region (us-east-1, us-central1, eastus).
    """
    if artifact.location is not None:
        cloud, _, region = artifact.location.partition("/")
        return cloud, region or facts_of(cloud).default_region
    scheme = (artifact.uri or "").partition("://")[0]
    owner = schemes().get(scheme)
    return None if owner is None else (owner.name, owner.default_region)
