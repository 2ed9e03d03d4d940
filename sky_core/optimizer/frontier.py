"""The trade between cost and time: the plans that no other beats in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sky_core.errors import SpecError
from sky_core.optimizer.effort import Effort
from sky_core.optimizer.exact import Method
from sky_core.optimizer.problem import Bools, Limit, Problem, Request, Solution
from sky_core.optimizer.solve import answer

SAME = 1e-9  # relative: plans whose makespans are this close are one point


def frontier(
    problem: Problem,
    *,
    points: int = 10,
    time_limit_s: float = 60.0,
    method: Method = "auto",
    fixed: Mapping[str, int] | None = None,
    blocked: Mapping[str, Bools] | None = None,
    limits: Sequence[Limit] = (),
) -> list[Solution]:
    """Plans from the fastest to the cheapest, at most ``points`` of them, spread evenly over the makespans between.

    Each is the cheapest plan for its makespan; ``bound`` and ``optimal`` speak of its cost, but for the fastest,
    where they speak of its time. Fewer come back where the frontier has fewer, or where ``time_limit_s`` (CPU seconds)
    are over before all are found; of those between the ends the slower, which save most, are looked for last.

    Raises:
        Infeasible: if a limit cannot be kept.
        SpecError: for less than two points.
    """
    if points < 2:
        raise SpecError(f"frontier: points: {points} is too few; a frontier has two ends")
    effort = Effort.of(time_limit_s)
    request = Request(fixed=fixed or {}, blocked=blocked or {}, limits=limits)

    def ask(change: Request, ahead: int) -> Solution:
        """Answer with a fair share of what is left of the time, ``ahead`` more questions to come."""
        return answer(problem, change, method=method, effort=Effort.of(max(0.1, effort.left) / (ahead + 1)))

    fastest = ask(replace(request, minimize="time"), points - 1)
    cheapest = ask(request, points - 2)
    if cheapest.hours <= fastest.hours * (1 + SAME):
        return [cheapest]
    plans = [fastest]
    for step in range(1, points - 1):
        if effort.left <= 0:
            break
        deadline = fastest.hours + (cheapest.hours - fastest.hours) * step / (points - 1)
        if deadline < plans[-1].hours * (1 - SAME):
            continue
        plans.append(ask(replace(request, deadline_hours=deadline), points - 2 - step))
    return _undominated([*plans, cheapest])


def _undominated(plans: list[Solution]) -> list[Solution]:
    """By makespan, each cheaper than all before it."""
    best: list[Solution] = []
    for plan in sorted(plans, key=lambda plan: (plan.hours, plan.cost)):
        if not best or (plan.cost < best[-1].cost * (1 - SAME) and plan.hours > best[-1].hours * (1 + SAME)):
            best.append(plan)
    return best
