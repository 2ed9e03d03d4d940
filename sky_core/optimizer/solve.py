"""The front door: choose a method, solve, prove."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import numpy as np

from sky_core.errors import Infeasible
from sky_core.optimizer.problem import (
    Bools,
    Ints,
    Minimize,
    Problem,
    Solution,
    Weighted,
    cost_of,
    finish_of,
    objective_of,
)

Method = Literal["auto", "ilp"]


def solve(
    problem: Problem,
    *,
    minimize: Minimize = "cost",
    deadline_hours: float | None = None,
    budget_usd: float | None = None,
    time_limit_s: float = 60.0,
    method: Method = "auto",
    fixed: Mapping[str, int] | None = None,
    blocked: Mapping[str, Bools] | None = None,
) -> Solution:
    """The best plan for the whole DAG.

    Args:
        deadline_hours: The makespan may not exceed this.
        budget_usd: The cost may not exceed this.
        fixed: Task to the candidate it must take.
        blocked: Task to a (C_v,) mask, True where a candidate may not be taken.

    Raises:
        Infeasible: if no plan keeps the deadline or the budget, with the least that would do.
    """
    from sky_core.optimizer import ilp

    started = time.monotonic()
    kept = _candidates(problem, fixed or {}, blocked or {})

    def attempt(weights: Weighted, deadline: float | None, budget: float | None) -> tuple[dict[str, int] | None, float]:
        left = max(0.1, time_limit_s - (time.monotonic() - started))
        placement = ilp.build(
            problem,
            kept,
            cost_weight=weights.cost,
            time_weight=weights.time,
            deadline_hours=deadline,
            budget_usd=budget,
        )
        answer = ilp.run(placement.model, left)
        if answer.values is None:
            return None, answer.bound
        values = answer.values
        return {
            task: int(kept[task][np.argmax(values[columns])]) for task, columns in placement.x.items()
        }, answer.bound

    weights = {"cost": Weighted(1, 0), "time": Weighted(0, 1)}.get(minimize, minimize)  # type: ignore[arg-type]
    choice, bound = attempt(weights, deadline_hours, budget_usd)
    if choice is None:
        _explain_infeasible(problem, attempt, deadline_hours, budget_usd)  # type: ignore[no-untyped-call]
    assert choice is not None
    if minimize == "cost":
        choice = attempt(Weighted(0, 1), deadline_hours, _above(cost_of(problem, choice)))[0] or choice
    elif minimize == "time":
        makespan = max(finish_of(problem, choice).values())
        choice = attempt(Weighted(1, 0), _above(makespan), budget_usd)[0] or choice
    return _solution(problem, choice, minimize, bound, "ilp")


def _above(value: float) -> float:
    return value * (1 + 1e-9) + 1e-9


def _candidates(problem: Problem, fixed: Mapping[str, int], blocked: Mapping[str, Bools]) -> dict[str, Ints]:
    kept = {}
    for task in problem.tasks:
        if task in fixed:
            kept[task] = np.array([fixed[task]])
        else:
            kept[task] = np.flatnonzero(~blocked[task]) if task in blocked else np.arange(len(problem.cost[task]))
        if len(kept[task]) == 0:
            raise Infeasible("blocked", None, f"every candidate of task {task!r} is blocked")
    return kept


def _explain_infeasible(problem, attempt, deadline, budget):  # type: ignore[no-untyped-def]
    if deadline is not None:
        fastest, _ = attempt(Weighted(0, 1), None, budget)
        if fastest is None:
            fastest, _ = attempt(Weighted(0, 1), None, None)
        least = max(finish_of(problem, fastest).values())
        if least > deadline:
            raise Infeasible(
                "deadline_hours", least, f"no plan ends within {deadline:g} h", cure=f"allow at least {least:.6g} h"
            )
    cheapest, _ = attempt(Weighted(1, 0), deadline, None)
    least = cost_of(problem, cheapest)
    raise Infeasible("budget_usd", least, f"no plan costs at most ${budget:g}", cure=f"allow at least ${least:.6g}")


def _solution(problem: Problem, choice: dict[str, int], minimize: Minimize, bound: float, method: str) -> Solution:
    finish = finish_of(problem, choice)
    cost, hours = cost_of(problem, choice), max(finish.values())
    value = objective_of(minimize, cost, hours)
    return Solution(choice, cost, hours, min(bound, value), value - bound <= 1e-6 * abs(value) + 1e-9, method, finish)
