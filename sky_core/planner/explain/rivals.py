"""What a plan was chosen over: each cloud alone, each task's next-best machine, other deals of money for time."""

from __future__ import annotations

from collections.abc import Mapping
from time import thread_time

from sky_core.errors import Infeasible
from sky_core.optimizer import Solution, frontier
from sky_core.planner.explain.remarks import some
from sky_core.planner.model import Model
from sky_core.planner.plan import Alone, Alternative, Deal, Placement
from sky_core.spec import Objective

EXPLAINED = 60  # tasks at most whose next best is looked for, the dearest first: nobody reads more
EXPLAIN_S = 1.5  # CPU seconds for all of them
FRONTIER_S = 2.0
DEALS = 8
SAME = 1e-9  # relative
LIMITS = {"deadline_hours": "deadline", "budget_usd": "budget", "until": "end of a reservation"}


def single_cloud(model: Model, cloud: str, objective: Objective, fixed: Mapping[str, Placement]) -> Alone:
    """The best plan within one cloud; what is fixed elsewhere stays there."""
    there = {id(chosen): chosen.in_cloud(cloud) for chosen in model.candidates.values()}  # many tasks share theirs
    narrowed = {name: chosen if name in fixed else there[id(chosen)] for name, chosen in model.candidates.items()}
    homeless = [name for name, chosen in narrowed.items() if len(chosen) == 0]
    if homeless:
        return Alone(cost_usd=None, hours=None, why=f"has nothing for {some(homeless)}")
    try:
        alone = Model(model.pipeline, narrowed, model.catalog, model.counts, model.held, model.now).solve(objective)
    except Infeasible as error:
        return Alone(cost_usd=None, hours=None, why=f"cannot keep the {LIMITS.get(error.constraint, error.constraint)}")
    return Alone(cost_usd=alone.cost, hours=alone.hours)


def next_best(
    model: Model, objective: Objective, solution: Solution, fixed: Mapping[str, Placement]
) -> dict[str, Alternative | None]:
    """Of the tasks that cost most: the plan without the kind of machine that each was given, None if there is none.

    Other zones of the same kind tell nobody much. Tasks whose turn does not come in time are left out.
    """
    cost = {
        name: float(model.problem.cost[name][solution.choice[name]]) for name in solution.choice if name not in fixed
    }
    dearest = sorted(cost, key=lambda name: (-cost[name], name))[:EXPLAINED]
    found: dict[str, Alternative | None] = {}
    end = thread_time() + EXPLAIN_S
    for name in dearest:
        if thread_time() > end:
            break
        found[name] = _without_its_kind(model, objective, solution, name, end - thread_time())
    return {task.name: found[task.name] for task in model.pipeline.tasks if task.name in found}


def _without_its_kind(
    model: Model, objective: Objective, solution: Solution, task: str, time_limit_s: float
) -> Alternative | None:
    candidates = model.candidates[task]
    same = candidates.kind == candidates.kind[solution.choice[task]]
    try:
        other = model.solve(objective, blocked={task: same}, time_limit_s=time_limit_s)
    except Infeasible:
        return None
    return Alternative(
        machine=candidates.placement(other.choice[task], task).machine,
        extra_usd=other.cost - solution.cost,
        extra_egress_usd=_moves_usd(model, other) - _moves_usd(model, solution),
        extra_hours=other.hours - solution.hours,
        moved=tuple(
            name
            for name in other.choice
            if name != task and _place(model, other, name) != _place(model, solution, name)
        ),
    )


def _place(model: Model, solution: Solution, task: str) -> int:
    return int(model.problem.location[task][solution.choice[task]])


def _moves_usd(model: Model, solution: Solution) -> float:
    """USD of all that is moved in a plan: what it costs beyond its machines."""
    machines = sum(float(model.candidates[name].cost[number]) for name, number in solution.choice.items())
    return solution.cost - machines


def deals(model: Model, solution: Solution) -> tuple[Deal, ...]:
    """Money for time: plans that no other beats in both, nor this one, the fastest first.

    As many as are found in time; none where a task has its own time.
    """
    if model.due:
        return ()
    try:
        found = frontier(model.problem, points=DEALS, time_limit_s=FRONTIER_S, limits=model.limits)
    except Infeasible:  # nothing forbids them; they were not found in time
        return ()
    kept = [plan for plan in found if not _beats(solution, plan)]
    return tuple(Deal(hours=plan.hours, cost_usd=plan.cost, optimal=plan.optimal) for plan in kept)


def _beats(one: Solution, other: Solution) -> bool:
    """Whether a plan is as fast and as cheap as another, and one of both by more than rounding."""
    no_worse = one.hours <= other.hours * (1 + SAME) and one.cost <= other.cost * (1 + SAME)
    return no_worse and (one.hours < other.hours * (1 - SAME) or one.cost < other.cost * (1 - SAME))
