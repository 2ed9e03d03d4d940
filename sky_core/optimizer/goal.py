"""What one solve minimizes and keeps to, as numbers, and when two numbers count as the same."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sky_core.optimizer.problem import Limit, Reuse, Weighted

ROUNDING = 1e-9  # relative: within it, two objectives are the same
TINY = 1e-12  # USD, hours: below this two figures are the same


@dataclass(frozen=True)
class Goal:
    """A linear objective and the limits; inf for no deadline or budget."""

    weights: Weighted
    deadline_hours: float = math.inf
    budget_usd: float = math.inf
    limits: Sequence[Limit] = ()
    reuse: Reuse | None = None

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


def now() -> float:
    """CPU seconds of this thread. A busy host makes a solve take longer, and its answer no worse."""
    return time.thread_time()


@dataclass(frozen=True)
class Effort:
    """How long to try, by :func:`now`.

    Attributes:
        until: When to stop, whatever is proven.
        patient_until: From when on a plan that is proven to lie within ``gap`` of the best is good enough.
        gap: Relative.
    """

    until: float
    patient_until: float = math.inf
    gap: float = 0.0

    @classmethod
    def of(cls, time_limit_s: float, patience_s: float = math.inf, gap: float = 0.0) -> Effort:
        """From now on."""
        begun = now()
        return cls(begun + time_limit_s, begun + patience_s, gap)

    @property
    def left(self) -> float:
        """CPU seconds until the end."""
        return self.until - now()

    def share(self, part: float) -> Effort:
        """An end sooner: after that part of what is left."""
        return replace(self, until=now() + part * self.left)

    def impatient(self) -> Effort:
        """With a plan within ``gap`` good enough at once."""
        return replace(self, patient_until=-math.inf)

    def enough(self, value: float, bound: float) -> bool:
        """Whether a plan of that objective can be left at that."""
        if bound >= value - ROUNDING * abs(value) - TINY:
            return True
        return now() > self.patient_until and value - bound <= self.gap * abs(value)
