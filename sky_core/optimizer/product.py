"""The least cost × time (Cloud-Conductor's "value"), by cutting the range of makespans into ever smaller pieces."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import replace

from sky_core.optimizer.effort import Effort, now
from sky_core.optimizer.exact import Best, Method, minimum
from sky_core.optimizer.goal import Goal, above
from sky_core.optimizer.problem import Ints, Problem, Weighted, assess

GAP = 1e-7  # relative: pieces whose bound is this close to the best plan are not cut further


def least_product(problem: Problem, allowed: Mapping[str, Ints], goal: Goal, *, method: Method, effort: Effort) -> Best:
    """The plan with the least product within the goal's limits (its weights do not matter).

    On makespans in [low, high], where no plan costs less than ``usd``, a product c × t is at least
    ``low * c + usd * t - low * usd`` (McCormick's underestimator), which is a weighted objective. The gap of that
    bound shrinks with the square of the piece.
    """

    def least(weights: Weighted, deadline_hours: float) -> Best:
        piece = replace(goal, weights=weights, deadline_hours=deadline_hours)
        return minimum(problem, allowed, piece, method=method, effort=effort)

    fastest = least(Weighted(0.0, 1.0), goal.deadline_hours)
    if fastest.choice is None:
        return fastest
    cheapest = least(Weighted(1.0, 0.0), goal.deadline_hours)
    plans = [fastest] if cheapest.choice is None else [fastest, cheapest]
    values = [_product(problem, plan) for plan in plans]
    best, value = plans[values.index(min(values))], min(values)
    high = max(assess(problem, plans[-1].choice or {})[1].values())
    pieces = [(fastest.bound * cheapest.bound, fastest.bound, high)]
    while pieces and pieces[0][0] < value * (1 - GAP) and now() < effort.until:
        bound, low, high = heapq.heappop(pieces)
        middle = (low + high) / 2
        for start, end in ((low, middle), (middle, high)):
            usd = least(Weighted(1.0, 0.0), above(end)).bound
            if max(bound, usd * start) >= value * (1 - GAP):
                continue
            plan = least(Weighted(start, usd), above(end))
            if plan.choice is not None and _product(problem, plan) < value:
                best, value = plan, _product(problem, plan)
            heapq.heappush(pieces, (max(bound, usd * start, plan.bound - usd * start), start, end))
    floor = min(value, pieces[0][0]) if pieces else value
    return replace(best, value=value, bound=floor, settled=True)


def _product(problem: Problem, plan: Best) -> float:
    cost, finish = assess(problem, plan.choice or {})
    return cost * max(finish.values())
