"""How work grows with the number of machines, learnt from what a gang has done with as many as it had.

Amdahl's law with two unknowns, the pace of one machine and the share of the work that cannot be shared out. Errors are
taken to be relative, and each number of machines to tell the more the longer it was there; before anything was seen the
share is a guess. A gang that was only ever of one size says nothing of others: the guess stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

SERIAL = 0.05  # the guess, and
UNSURE = 0.1  # how far it may be off
NOISE = 0.1  # relative error of a pace that was seen for an hour
SHARES = [(step / 200) ** 2 for step in range(201)]  # small ones make the difference for many machines


@dataclass(frozen=True)
class Scaling:
    """What was learnt.

    Attributes:
        pace: Units of work that one machine does in an hour.
        serial: Share of the work that cannot be shared out.
    """

    pace: float
    serial: float

    def __call__(self, count: int) -> float:
        """Hours of one machine's work that ``count`` machines do in an hour."""
        return count / (1 + self.serial * (count - 1)) if count else 0.0


def learnt(seen: Mapping[int, tuple[float, float]]) -> Scaling:
    """The likeliest scaling, from hours and units of work by number of machines.

    >>> round(learnt({1: (20.0, 200.0), 4: (20.0, 500.0)}).serial, 1)  # four machines did 2.5 times as much as one
    0.2
    >>> learnt({}).pace
    0.0
    """
    told = {count: (hours, units / hours) for count, (hours, units) in seen.items() if count and hours > 0 < units}
    if not told:
        return Scaling(0.0, SERIAL)
    return min((_fit(told, serial) for serial in SHARES), key=lambda fit: fit[0])[1]


def _fit(told: Mapping[int, tuple[float, float]], serial: float) -> tuple[float, Scaling]:
    """How unlikely that share is, and the pace of one machine that goes with it best."""
    shape = Scaling(1.0, serial)
    logs = [(hours, math.log(pace / shape(count))) for count, (hours, pace) in told.items()]
    mean = sum(hours * log for hours, log in logs) / sum(hours for hours, _ in logs)
    off = sum(hours * (log - mean) ** 2 for hours, log in logs) / NOISE**2
    return off + ((serial - SERIAL) / UNSURE) ** 2, Scaling(math.exp(mean), serial)
