"""Placement by integer programming: slower than labels, and open to side constraints that are linear."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sky_core.optimizer.capacity import add_limit
from sky_core.optimizer.effort import Effort
from sky_core.optimizer.goal import Goal
from sky_core.optimizer.problem import Ints, Limit
from sky_core.optimizer.programs.model import Known, Placement, Solver, build
from sky_core.optimizer.space import Space


@dataclass(frozen=True)
class Outcome:
    """The best plan found (None if there is none) and a lower bound (inf if there is provably none)."""

    picks: list[int] | None
    bound: float


def solve(space: Space, goal: Goal, solver: Solver, *, effort: Effort, start: list[int] | None = None) -> Outcome:
    """Solve, from a plan that is known where there is one."""
    placement = build(space, goal, math.inf if start is None else effort.until)
    if placement is None:  # the plan that is known has to do
        return Outcome(start, -math.inf)
    for limit in goal.limits:
        add_limit(placement, space, limit)
    answer = solver(placement.model, effort, None if start is None else _incumbent(placement, start))
    if answer.values is None:
        return Outcome(None, answer.bound)
    return Outcome([int(np.argmax(answer.values[x])) for x in placement.x], answer.bound)


def _incumbent(placement: Placement, picks: list[int]) -> Known:
    """The columns x of a plan; the solver fills in the others."""
    values = [np.eye(len(x))[pick] for x, pick in zip(placement.x, picks, strict=True)]
    return np.concatenate(placement.x), np.concatenate(values)


def tags(allowed: Mapping[str, Ints], limits: Sequence[Limit]) -> dict[str, Ints]:
    """Per task (c,) a number for each candidate that tells apart what limits tell apart."""
    numbers = {}
    for task, kept in allowed.items():
        columns: list[NDArray[Any]] = [np.asarray(limit.uses[task])[kept] for limit in limits if task in limit.uses]
        if columns:
            numbers[task] = np.unique(np.stack(columns), axis=1, return_inverse=True)[1].reshape(-1)
    return numbers
