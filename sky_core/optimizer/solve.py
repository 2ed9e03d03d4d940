"""The front door: turn a question into goals, solve them, name what cannot be met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sky_core.errors import Infeasible, SpecError
from sky_core.optimizer.effort import Effort, now
from sky_core.optimizer.exact import Best, Method, cheapest_of_equal, fastest_of_equal, minimum
from sky_core.optimizer.goal import Goal, above
from sky_core.optimizer.problem import (
    Bools,
    Ints,
    Limit,
    Minimize,
    Problem,
    Request,
    Solution,
    Weighted,
    assess,
    objective_of,
)
from sky_core.optimizer.product import least_product

WEIGHTS = {"cost": Weighted(1.0, 0.0), "time": Weighted(0.0, 1.0)}


def solve(
    problem: Problem,
    *,
    minimize: Minimize = "cost",
    deadline_hours: float | None = None,
    budget_usd: float | None = None,
    time_limit_s: float = 60.0,
    patience_s: float = 2.0,
    gap: float = 0.01,
    method: Method = "auto",
    fixed: Mapping[str, int] | None = None,
    blocked: Mapping[str, Bools] | None = None,
    limits: Sequence[Limit] = (),
) -> Solution:
    """The best plan for the whole DAG.

    Of equally cheap plans the fastest is returned, of equally fast ones the cheapest; in DAGs of hundreds of tasks, and
    where patience ended before a proof, one that no change of a single task makes better. What is equal in both is told
    apart by the order of the candidates.
    Solving the same problem again, with tasks fixed or candidates blocked, starts from what the last time has shown.

    Args:
        minimize: USD, hours of makespan, a weighted sum of the two, or their product.
        deadline_hours: The makespan may not exceed this.
        budget_usd: The cost may not exceed this.
        time_limit_s: CPU seconds after which the best plan so far is returned, with its proven bound.
        patience_s: CPU seconds after which a plan is good enough that is proven to lie within ``gap`` of the best, with
            method ``auto``.
        gap: Relative to the objective.
        method: ``auto`` picks; ``labels``, ``ilp`` (HiGHS) and ``cbc`` (through PuLP) insist. They agree.
        fixed: Task to the candidate it must take, blocked or not.
        blocked: Task to a (C_v,) mask, True where a candidate may not be taken.
        limits: Counts that tasks share.

    Raises:
        Infeasible: if no plan keeps the deadline, the budget or a limit: names it, with the least that would do.
        SpecError: for names of tasks or an objective that do not exist.
    """
    request = Request(minimize, deadline_hours, budget_usd, fixed or {}, blocked or {}, limits)
    return answer(
        problem, request, method=method, effort=Effort.of(time_limit_s, patience_s, gap if method == "auto" else 0.0)
    )


def answer(problem: Problem, request: Request, *, method: Method = "auto", effort: Effort) -> Solution:
    """What :func:`solve` returns, for a question that has been put together before."""
    allowed = _allowed(problem, request)
    goal = Goal(
        weights=Weighted(1.0, 0.0),
        deadline_hours=_limit("deadline_hours", request.deadline_hours),
        budget_usd=_limit("budget_usd", request.budget_usd),
        limits=request.limits,
    )
    if request.minimize == "cost*time":
        best = least_product(problem, allowed, goal, method=method, effort=effort)
    else:
        weights = request.minimize if isinstance(request.minimize, Weighted) else WEIGHTS.get(request.minimize)
        if weights is None:
            raise SpecError(f"minimize: {request.minimize!r} is none of 'cost', 'time', 'cost*time', Weighted(…)")
        best = _best(problem, allowed, replace(goal, weights=weights), method, effort)
    if best.choice is None:
        raise _infeasible(problem, allowed, goal, best, method, effort)
    return _solution(problem, request, best, goal)


def _limit(name: str, value: float | None) -> float:
    if value is None:
        return math.inf
    if math.isnan(value) or value < 0:
        raise SpecError(f"{name}: {value!r} is not a limit; give a number that is not negative")
    return above(value)


def _allowed(problem: Problem, request: Request) -> dict[str, Ints]:
    for name in (*request.fixed, *request.blocked, *(task for limit in request.limits for task in limit.uses)):
        if name not in problem.cost:
            raise SpecError(f"solve: there is no task {name!r}")
    allowed = {}
    for task in problem.tasks:
        if task in request.fixed:
            allowed[task] = np.array([request.fixed[task]])
            if not 0 <= request.fixed[task] < len(problem.cost[task]):
                raise SpecError(f"solve: fixed: task {task!r} has no candidate {request.fixed[task]}")
        elif task in request.blocked:
            allowed[task] = np.flatnonzero(~request.blocked[task])
        else:
            allowed[task] = np.arange(len(problem.cost[task]))
        if len(allowed[task]) == 0:
            raise Infeasible("blocked", None, f"every candidate of task {task!r} is blocked")
    return allowed


def _best(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, method: Method, effort: Effort) -> Best:
    """The minimum, and of what is equal to it the best in the other respect."""
    first = minimum(problem, allowed, goal, method=method, effort=effort)
    by_cost, by_time = goal.weights.time == 0, goal.weights.cost == 0
    if first.choice is None or not (by_cost or by_time) or (by_cost and first.settled) or effort.left <= 0:
        return first
    cost, finish = assess(problem, first.choice)
    if by_cost:
        as_cheap = replace(goal, weights=WEIGHTS["time"], budget_usd=above(cost))
        return fastest_of_equal(problem, allowed, as_cheap, first, method=method, effort=effort)
    as_fast = replace(goal, weights=WEIGHTS["cost"], deadline_hours=above(max(finish.values())))
    return cheapest_of_equal(problem, allowed, as_fast, first, method=method, effort=effort)


def _solution(problem: Problem, request: Request, best: Best, goal: Goal) -> Solution:
    assert best.choice is not None
    cost, finish = assess(problem, best.choice)
    hours = max(finish.values())
    value = objective_of(request.minimize, cost, hours)
    bound = min(best.bound, value)
    # HiGHS keeps a makespan's rows to within 1e-6: below a bound by that much, the plan is as good as proven.
    optimal = value - bound <= 4e-6 * abs(value) + 1e-6
    return Solution(best.choice, cost, hours, bound, optimal, best.method, finish)


def _infeasible(
    problem: Problem, allowed: Mapping[str, Ints], goal: Goal, best: Best, method: Method, effort: Effort
) -> Infeasible:
    """Which limit cannot be kept, found by lifting them one after the other."""
    if math.isfinite(best.bound):
        return Infeasible(
            "time_limit_s", None, "no plan was found in time, nor shown that there is none", cure="allow more"
        )
    free = Goal(Weighted(1.0, 0.0))
    for limit in goal.limits:
        if _least(problem, allowed, replace(free, limits=[limit]), method, effort) is None:
            return Infeasible(limit.name, None, f"no plan keeps {limit.name} within {limit.count:g}")
    free = replace(free, limits=goal.limits)
    hours = _least(problem, allowed, replace(free, weights=WEIGHTS["time"]), method, effort)
    if hours is None:
        names = " and ".join(limit.name for limit in goal.limits)
        return Infeasible(names, None, f"no plan keeps {names} all at once")
    if hours > goal.deadline_hours:
        return _short_of_time(goal, hours, "")
    usd = _least(problem, allowed, free, method, effort)
    if usd is not None and usd > goal.budget_usd:
        return _short_of_money(goal, usd, "")
    usd = _least(problem, allowed, replace(free, deadline_hours=goal.deadline_hours), method, effort)
    assert usd is not None, "the deadline alone can be kept"
    return _short_of_money(goal, usd, f" within {goal.deadline_hours:g} h")


def _least(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, method: Method, effort: Effort) -> float | None:
    best = minimum(problem, allowed, goal, method=method, effort=replace(effort, until=max(effort.until, now() + 10.0)))
    return None if best.choice is None else best.value


def _short_of_time(goal: Goal, least: float, where: str) -> Infeasible:
    message = f"no plan ends within {goal.deadline_hours:g} h{where}"
    return Infeasible("deadline_hours", least, message, cure=f"allow at least {_up(least)} h")


def _short_of_money(goal: Goal, least: float, where: str) -> Infeasible:
    message = f"no plan costs at most ${goal.budget_usd:g}{where}"
    return Infeasible("budget_usd", least, message, cure=f"allow at least ${_up(least)}")


def _up(least: float) -> str:
    """A limit that can be kept, in six digits: to write less would ask for the impossible again."""
    digit = 10.0 ** (math.floor(math.log10(least)) - 5) if least > 0 else 1.0
    return f"{math.ceil(least / digit) * digit:.6g}"
