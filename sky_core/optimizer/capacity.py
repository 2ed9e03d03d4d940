"""Counts that tasks share: who may run at the same time, and the rows that keep them within a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from sky_core.optimizer.effort import Effort
from sky_core.optimizer.problem import Floats, Limit, Problem
from sky_core.optimizer.programs.model import Model, Placement, Solver
from sky_core.optimizer.space import Space


def add_limit(placement: Placement, space: Space, limit: Limit) -> None:
    """Keep what the tasks take within the count.

    Of tasks that may run at once: the machines are handed on. What a task holds has entered with it or was handed on
    by its parents, and it hands no more on than it holds; a task that takes none of them passes them through. So many
    have to enter as the heaviest set of tasks takes of which none comes after another (Dilworth, by flows), and no set
    has to be listed.
    """
    model = placement.model
    uses = [
        np.asarray(limit.uses[task], dtype=np.float64)[index] if task in limit.uses else np.zeros(len(index))
        for task, index in zip(space.tasks, space.index, strict=True)
    ]
    if not limit.at_once:
        model.add_row(list(zip(placement.x, uses, strict=True)), -math.inf, limit.count)
        return
    held = model.add_columns(np.zeros(len(space.tasks)), math.inf)
    entered = model.add_columns(np.zeros(len(space.tasks)), math.inf)
    handed = model.add_columns(np.zeros(len(space.links)), math.inf)
    for v in range(len(space.tasks)):
        here = (held[[v]], 1.0)
        model.add_row([here, (placement.x[v], -uses[v])], 0.0, math.inf)
        model.add_row([here, (entered[[v]], -1.0), (handed[space.into[v]], -1.0)], 0.0, 0.0)
        model.add_row([here, (handed[space.out[v]], -1.0)], 0.0, math.inf)
    model.add_row([(entered, 1.0)], -math.inf, limit.count)


def keeps(problem: Problem, limit: Limit, choice: Mapping[str, int], solver: Solver) -> bool:
    """Whether a plan takes no more than there is."""
    taken = np.array([limit.uses[task][choice[task]] if task in limit.uses else 0.0 for task in problem.tasks])
    if float(np.sum(taken)) <= limit.count + 1e-9:
        return True
    return limit.at_once and _most_at_once(problem, taken, solver) <= limit.count + 1e-6


def _most_at_once(problem: Problem, weight: Floats, solver: Solver) -> float:
    """The greatest total weight of tasks among which none comes after another.

    A moment in a schedule cuts the DAG: ``begun >= done`` per task, and a child has begun only if its parents are
    done. The most that can be begun and not done is a linear program with integral corners.
    """
    model, position = Model(), {task: v for v, task in enumerate(problem.tasks)}
    begun = model.add_columns(-weight, 1.0)
    done = model.add_columns(weight, 1.0)
    for v in range(len(problem.tasks)):
        model.add_row([(begun[[v]], 1.0), (done[[v]], -1.0)], 0.0, math.inf)
    for edge in problem.edges:
        ends = (done[[position[edge.parent]]], 1.0), (begun[[position[edge.child]]], -1.0)
        model.add_row(ends, 0.0, math.inf)
    answer = solver(model, Effort.of(60.0), None)
    assert answer.values is not None, "running nothing is always possible"
    return float(np.sum(weight * (answer.values[begun] - answer.values[done])))
