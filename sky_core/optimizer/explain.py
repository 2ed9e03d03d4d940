"""Why this plan: what each task's next-best choice would cost, and what one group of locations alone would."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sky_core.errors import Infeasible
from sky_core.optimizer.effort import Effort
from sky_core.optimizer.exact import Method
from sky_core.optimizer.problem import Problem, Request, Solution, objective_of
from sky_core.optimizer.solve import answer


@dataclass(frozen=True)
class Runner:
    """The best plan in which one task chooses otherwise.

    Attributes:
        candidate: What the task takes then.
        extra: What the objective loses by it, in its own unit (USD, hours, or as weighted).
        extra_cost, extra_hours: The difference in USD and in makespan.
        plan: That plan.
    """

    candidate: int
    extra: float
    extra_cost: float
    extra_hours: float
    plan: Solution


@dataclass(frozen=True)
class Explanation:
    """What a plan was chosen over.

    Attributes:
        runners_up: Task to its next-best choice, None where no other keeps the limits (or the task is fixed).
        alone: Group of locations to the best plan within it, None where there is none.
    """

    runners_up: Mapping[str, Runner | None]
    alone: Mapping[str, Solution | None]


def explain(
    problem: Problem,
    solution: Solution,
    *,
    groups: Mapping[str, Collection[int]] | None = None,
    method: Method = "auto",
    time_limit_s: float = 60.0,
) -> Explanation:
    """Ask the solution's own question again, without each of its choices and within each group alone.

    Args:
        groups: Name (of a cloud, say) to the locations that belong to it; without, every location by its number.
        time_limit_s: For all questions together, shared evenly.
    """
    names = groups or {str(place): [place] for place in range(problem.locations)}
    free = [task for task in problem.tasks if task not in solution.request.fixed]
    effort, left = Effort.of(time_limit_s), len(free) + len(names)

    def ask(request: Request) -> Solution | None:
        nonlocal left
        share = Effort.of(max(0.05, effort.left) / max(1, left))
        left -= 1
        try:
            return answer(problem, request, method=method, effort=share)
        except Infeasible:
            return None

    request = solution.request
    runners: dict[str, Runner | None] = dict.fromkeys(problem.tasks)
    for task in free:
        runners[task] = _runner(task, solution, ask(_without(problem, request, task, solution.choice[task])))
    alone = {name: ask(_within(problem, request, places)) for name, places in names.items()}
    return Explanation(runners, alone)


def _runner(task: str, solution: Solution, other: Solution | None) -> Runner | None:
    if other is None:
        return None
    before = objective_of(solution.request.minimize, solution.cost, solution.hours)
    after = objective_of(solution.request.minimize, other.cost, other.hours)
    return Runner(other.choice[task], after - before, other.cost - solution.cost, other.hours - solution.hours, other)


def _without(problem: Problem, request: Request, task: str, candidate: int) -> Request:
    mask = np.array(request.blocked.get(task, np.zeros(len(problem.cost[task]), dtype=bool)))
    mask[candidate] = True
    return replace(request, blocked={**request.blocked, task: mask})


def _within(problem: Problem, request: Request, places: Collection[int]) -> Request:
    """Only candidates at these places; what is fixed stays."""
    blocked = {}
    for task in problem.tasks:
        outside = ~np.isin(problem.location[task], list(places))
        blocked[task] = outside | request.blocked.get(task, np.zeros(len(outside), dtype=bool))
    return replace(request, blocked=blocked)
