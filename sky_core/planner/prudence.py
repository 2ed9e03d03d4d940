"""Tries that are paid for: no run of a pipeline should cost more than its first plan would."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from sky_core.errors import Infeasible
from sky_core.optimizer import Problem, Solution
from sky_core.optimizer.problem import assess
from sky_core.spec import Objective

Solve = Callable[[Objective, Mapping[str, np.ndarray]], Solution]


def solve_prudently(
    solve: Solve, at_worst: Callable[[], Problem], first: Mapping[str, np.ndarray], objective: Objective
) -> Solution:
    """The cheapest plan that even at worst costs no more than the first run's plan is expected to cost now.

    A conservative bandit (Wu et al., "Conservative Bandits", ICML 2016), held to its promise in every run instead of
    over all of them, but by the pipeline as a whole: what some tasks save for certain pays for the tries of others.
    As long as that is too little, the task that risks most is held to candidates that even at worst cost no more than
    its first. A task without a first run, or whose first machine is not on offer now, has nothing to be held to;
    a deadline that would be missed otherwise comes before the promise, and so does any objective but cost.

    Args:
        solve: The solver; takes the objective and, by task, which candidates (C_v,) to leave out.
        at_worst: Makes the problem with costs at worst; a candidate of the first run's kind costs what is expected
            of it there.
        first: By task, which candidates (C_v,) are the machine and place of its first run.

    Raises:
        Infeasible: if the objective's deadline or budget cannot be met.
    """
    solution = solve(objective, {})
    if objective.minimize != "cost" or not any(mask.any() for mask in first.values()):
        return solution
    worst = at_worst()
    start = {
        name: int(np.argmin(np.where(mask, worst.cost[name], np.inf))) for name, mask in first.items() if mask.any()
    }
    held: dict[str, np.ndarray] = {}
    while len(held) < len(start):
        choice = solution.choice
        if assess(worst, choice)[0] <= assess(worst, {**choice, **start})[0]:
            break
        risk = {
            name: worst.cost[name][choice[name]] - worst.cost[name][start[name]] for name in start.keys() - held.keys()
        }
        riskiest = max(sorted(risk), key=lambda name: float(risk[name]))
        held[riskiest] = worst.cost[riskiest] > worst.cost[riskiest][start[riskiest]]
        try:
            solution = solve(objective, held)
        except Infeasible:
            break
    return solution
