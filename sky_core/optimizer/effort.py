"""How long one solve tries, and from when on a plan that is nearly proven will do."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace


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

    def fits(self, value: float, bound: float) -> bool:
        """Whether a plan of that objective is proven to lie within ``gap`` of the best."""
        return math.isfinite(value) and value - bound <= self.gap * abs(value)

    def ends(self, value: float, bound: float) -> float:
        """When to stop with a plan of that objective in hand: within ``gap`` it will do once patience is over."""
        return min(self.until, self.patient_until) if self.fits(value, bound) else self.until

    def enough(self, value: float, bound: float) -> bool:
        """Whether a plan of that objective can be left at that by now, though nothing proves it the best."""
        return now() > self.patient_until and self.fits(value, bound)
