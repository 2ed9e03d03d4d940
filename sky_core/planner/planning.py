"""Planning a pipeline: candidates and egress in, the optimizer's choice out, with what it was chosen over."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sky_core.catalog import Catalog
from sky_core.errors import NoCloudEnabled
from sky_core.planner.candidates import Candidates, Shelf, pinned
from sky_core.planner.candidates import freeze_hours as _freeze_task
from sky_core.planner.capacity import lasting, pools
from sky_core.planner.deadlines import fast_enough
from sky_core.planner.explain.remarks import left_alone, remarks, too_short
from sky_core.planner.explain.rivals import deals, next_best, single_cloud
from sky_core.planner.explain.sensitivity import Sensitivity
from sky_core.planner.model import Model
from sky_core.planner.nodes import Pool
from sky_core.planner.plan import Block, Placement, Plan, dag_hash
from sky_core.planner.prudence import solve_prudently
from sky_core.spec import Objective, Pipeline
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
        held: How many machines other pipelines hold of those that are counted.
    """

    catalog: Catalog
    clouds: Sequence[str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    blocked: Sequence[Block] = ()
    history: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    tracker: Tracker | None = None
    held: Mapping[Pool, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SoFar:
    """How far a pipeline is that is planned anew.

    Attributes:
        begun_at: When it was first planned, seconds since the epoch.
        hours: Hours since then.
        left: Hours that tasks which stay where they are still need; 0 for those that are done.
        kept: Shares of the work of tasks that checkpoints hold: wherever those go on, only the rest is to be done.
    """

    begun_at: float
    hours: float
    left: Mapping[str, float]
    kept: Mapping[str, float] = field(default_factory=dict)


def make_plan(
    pipeline: Pipeline,
    market: Market,
    objective: Objective | None = None,
    *,
    fixed: Mapping[str, Placement] | None = None,
    so_far: SoFar | None = None,
    reason: str = "first plan",
    explain: bool = False,
    trade: bool = False,
) -> Plan:
    """Place every task of a pipeline; tasks in ``fixed`` stay where they are, and need what ``so_far`` says.

    With ``explain`` the plan also says what each task's next-best kind of machine would cost and how far off its
    defaults may be (a few seconds more), with ``trade`` what other deals of money for time there are (a few more).

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
    shelf = Shelf(market.catalog, market.clouds, blocked=market.blocked, history=market.history, tracker=market.tracker)
    wanted = _candidates(pipeline, shelf, fixed, done)
    candidates = {task.name: lasting(task, wanted[task.name], now) for task in pipeline.tasks}
    model = Model(pipeline, candidates, market.catalog, dict(pools(market.catalog)), market.held, now)
    rest = goal.model_copy(update={"deadline": _hours_left(goal, done)})
    first = {name: found.first for name, found in candidates.items()}
    solution = solve_prudently(model.solve, lambda: model.at_worst, first, rest)
    placements, schedule = model.placements(solution), model.schedule(solution)
    return Plan(
        pipeline=pipeline.name,
        objective=goal,
        placements=placements,
        cost_usd=solution.cost,
        hours=solution.hours,
        bound=solution.bound,
        optimal=solution.optimal,
        method=solution.method,
        transfers=model.transfers(solution),
        schedule=schedule,
        alone={cloud: single_cloud(model, cloud, rest, fixed) for cloud in market.clouds},
        next_best=next_best(model, rest, solution, fixed) if explain else {},
        deals=deals(model, solution) if trade else (),
        guesses=Sensitivity(model, shelf, solution, rest).guesses() if explain else (),
        left_out=dict(market.left_out),
        remarks=(
            *remarks(pipeline, placements, market.catalog),
            *too_short(wanted, placements, schedule, now),
            *left_alone(pipeline, shelf, placements),
        ),
        catalog_version=market.catalog.version,
        dag_hash=dag_hash(pipeline),
        created_at=now,
        begun_at=done.begun_at,
        reason=reason,
    )


def _candidates(pipeline: Pipeline, shelf: Shelf, fixed: Mapping[str, Placement], done: SoFar) -> dict[str, Candidates]:
    """What each task may run on; tasks with the same needs share it."""
    return {
        task.name: pinned(fixed[task.name], done.left.get(task.name))
        if task.name in fixed
        else fast_enough(task, _rest(shelf.candidates(task), done.kept.get(task.name, 0.0)))
        for task in pipeline.tasks
    }


def _rest(candidates: Candidates, kept: float) -> Candidates:
    return candidates.rest(kept) if kept else candidates  # tasks that have not begun share theirs


def _hours_left(objective: Objective, so_far: SoFar) -> float | None:
    """Hours from now to the objective's deadline; one in hours counts from the first plan."""
    left = objective.deadline_hours()
    return left if left is None or isinstance(objective.deadline, datetime) else max(0.0, left - so_far.hours)


def freeze_hours(pipeline: Pipeline, market: Market) -> Pipeline:
    """The pipeline with estimates that can be stored: functions become tables of their values on the candidates."""
    tasks = tuple(_freeze_task(task, market.catalog, market.clouds) for task in pipeline.tasks)
    return pipeline.model_copy(update={"tasks": tasks})
