"""What one solve minimizes and keeps to, as numbers, and when two numbers count as the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.optimizer.problem import Limit, Weighted

ROUNDING = 1e-9  # relative: within it, two objectives are the same
TINY = 1e-12  # USD, hours: below this two figures are the same


@dataclass(frozen=True)
class Goal:
    """A linear objective and the limits; inf for no deadline or budget."""

    weights: Weighted
    deadline_hours: float = math.inf
    budget_usd: float = math.inf
    limits: Sequence[Limit] = ()

    @property
    def priced(self) -> bool:
        """Whether cost matters."""
        return self.weights.cost > 0 or math.isfinite(self.budget_usd)

    @property
    def timed(self) -> bool:
        """Whether finish times matter."""
        return self.weights.time > 0 or math.isfinite(self.deadline_hours)

    def value(self, cost: float, hours: float) -> float:
        """The objective of a plan of that cost and makespan."""
        return self.weights.cost * cost + self.weights.time * hours


def above(value: float) -> float:
    """The value with room for rounding, as a limit."""
    return value + ROUNDING * abs(value) + TINY
