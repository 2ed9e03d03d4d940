"""Counts that tasks share: who may run at the same time, and the rows that keep them within a limit."""

from __future__ import annotations

import math

import numpy as np

from sky_core.optimizer.effort import Effort
from sky_core.optimizer.problem import Floats, Limit
from sky_core.optimizer.programs.model import Model, Placement, Solver
from sky_core.optimizer.space import Space


def usage(space: Space, limit: Limit) -> list[Floats]:
    """Per task (c,) what each candidate left takes of the limit."""
    return [
        np.asarray(limit.uses[task], dtype=np.float64)[index] if task in limit.uses else np.zeros(len(index))
        for task, index in zip(space.tasks, space.index, strict=True)
    ]


def overdrawn(space: Space, limit: Limit, picks: list[int], solver: Solver) -> list[int] | None:
    """The tasks that together take more than there is, or None if the plan keeps the limit."""
    taken = np.array([uses[pick] for uses, pick in zip(usage(space, limit), picks, strict=True)])
    together = heaviest(space, taken, solver) if limit.at_once else list(range(len(taken)))
    return together if float(np.sum(taken[together])) > limit.count + 1e-9 else None


def add_limit(placement: Placement, space: Space, limit: Limit, together: list[int]) -> None:
    """Keep what these tasks take within the count."""
    uses = usage(space, limit)
    placement.model.add_row([(placement.x[v], uses[v]) for v in together], -math.inf, limit.count)


def heaviest(space: Space, weight: Floats, solver: Solver) -> list[int]:
    """The tasks of greatest total weight among which none comes after another.

    A moment in a schedule cuts the DAG: ``begun >= done`` per task, and a child has begun only if its parents are
    done. The most that can be begun and not done is a linear program with integral corners.
    """
    model = Model()
    begun = model.add_columns(-weight, 1.0)
    done = model.add_columns(weight, 1.0)
    for v in range(len(space.tasks)):
        model.add_row([(begun[[v]], 1.0), (done[[v]], -1.0)], 0.0, math.inf)
    for link in space.links:
        model.add_row([(done[[link.parent]], 1.0), (begun[[link.child]], -1.0)], 0.0, math.inf)
    answer = solver(model, Effort.of(60.0), None)
    assert answer.values is not None, "running nothing is always possible"
    return [v for v in range(len(space.tasks)) if answer.values[begun[v]] - answer.values[done[v]] > 0.5]
