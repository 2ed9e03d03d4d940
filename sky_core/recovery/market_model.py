"""What a zone's spot market will do next: up and down spells whose hazard falls in their first hour and a half.

A semi-Markov process in phases of age. Measured over the public traces (skypilot-org/spot-traces, the first halves of
2022-10-26 and 2023-02-15), the rate at which a spell ends falls fast in its first 80 minutes, and slowly after that;
here it stays from then on. Zones differ: each has two scales, of its up and of its down rates, learnt from what was
seen of it lately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AGES = (1 / 6, 1 / 3, 2 / 3, 4 / 3)
"""Hours of age at which a phase ends; the last phase has no end."""
PHASES = len(AGES) + 1
LENGTHS = np.diff([0.0, *AGES])
SETTLED = 0.3
"""Changes per hour in the last phase. As measured it falls from 0.3 to below 0.1, but who trusts a long spell to last,
in a zone of which too little is known, loses more when it does not than who is careful loses when it does. Tuned on the
halves named above: of 0.2, 0.25, 0.3 and 0.5 the best for one zone and for many."""
RATES = np.array([(1.93, 1.46, 0.76, 0.60, SETTLED), (1.65, 1.35, 0.94, 0.51, SETTLED)])
"""(2, PHASES) returns of spot and preemptions per hour by phase, as measured but for the last."""
SCALES = np.array([0.4, 1.0, 2.5])
"""What a zone's rates may be in units of RATES."""
SPREAD = 0.45
"""Standard deviation of the logarithm of a zone's scales; by a random-effects fit to the same halves 0.35 for down
spells, 0.5 for up spells."""
MEMORY = 24.0
"""Hours after which what was seen of a zone counts for 1/e. Markets change: with a longer memory, a long history makes
decisions worse than none does (same halves)."""
PRIOR = np.tile(-0.5 * (np.log(SCALES) / SPREAD) ** 2, (2, 1))

SCALED = SCALES[:, None, None] * RATES
"""(SCALES, 2, PHASES) changes per hour."""


def _from_the_end() -> tuple[Floats, Floats]:
    """(SCALES, 2, PHASES) mean hours that a spell still lasts, from a phase's beginning; chances to find it there."""
    leaving = np.append(1 - np.exp(-SCALED[..., :-1] * LENGTHS), np.ones((*SCALED.shape[:2], 1)), axis=-1)
    reached = np.append(np.ones((*SCALED.shape[:2], 1)), np.cumprod(1 - leaving[..., :-1], axis=-1), axis=-1)
    spent = reached * leaving / SCALED
    life = np.cumsum(spent[..., ::-1], axis=-1)[..., ::-1] / reached
    return life, spent / spent.sum(axis=-1, keepdims=True)


LIFE, AGE_WEIGHTS = _from_the_end()


def step(hours: float) -> tuple[Floats, Floats]:
    """What becomes of spells within ``hours``.

    Returns:
        (SCALES, 2, PHASES, PHASES) chances to go on, by phase before and after, and (SCALES, 2, PHASES) to end.
    """
    end = 1 - np.exp(-SCALED * hours)
    older = np.append(np.minimum(1.0, hours / LENGTHS), 0.0)
    age = np.diag(1 - older) + np.diag(older[:-1], k=1)
    return (1 - end)[..., None] * age, end


def phase_of(age: float) -> int:
    """The phase of a spell that has lasted ``age`` hours."""
    return int(np.searchsorted(AGES, age + 1e-9, side="right"))


@dataclass
class Zone:
    """What has been seen of one zone, or of several taken as one.

    Attributes:
        up: Whether spot was there last.
        age: Hours that this has lasted as far as was seen.
        known: Whether the spell's beginning was seen.
    """

    up: bool | None = None
    age: float = 0.0
    known: bool = False
    _log_odds: Floats = field(default_factory=PRIOR.copy)

    def observe(self, up: bool, hours: float) -> None:
        """Spot is (not) there now, ``hours`` after the last look."""
        if self.up is not None and hours > 0:
            self._log_odds += (PRIOR - self._log_odds) * -math.expm1(-hours / MEMORY)
            rates = SCALED[:, int(self.up), phase_of(self.age)] * hours
            self._log_odds[int(self.up)] += -rates if up == self.up else np.log(-np.expm1(-rates))
        if self.up is None or up == self.up:
            self.age += hours if self.up is not None else 0.0
        else:
            self.age, self.known = 0.0, True
        self.up = up

    def weights(self, up: bool) -> Floats:
        """(SCALES,) how probable each scale of the up or down rates is."""
        odds = np.exp(self._log_odds[int(up)] - self._log_odds[int(up)].max())
        return np.asarray(odds / odds.sum())

    def phases(self) -> Floats:
        """(PHASES,) how probable it is that the present spell is in each phase."""
        first = phase_of(self.age)
        if self.known:
            return np.asarray(np.eye(PHASES)[first])
        weights = self.weights(bool(self.up)) @ AGE_WEIGHTS[:, int(bool(self.up))]
        weights[:first] = 0.0
        return np.asarray(weights / weights.sum())

    def life(self) -> float:
        """Mean hours that spot will stay, or would if it came now."""
        lives = self.weights(up=True) @ LIFE[:, 1]
        return float(lives @ self.phases() if self.up else lives[0])

    def availability(self) -> float:
        """The share of time that spot is there in the long run."""
        up, down = (float(self.weights(state) @ LIFE[:, int(state), 0]) for state in (True, False))
        return up / (up + down)


def watch(history: Sequence[bool], hours: float) -> Zone:
    """A zone with its past availability, oldest first, at steps of ``hours``."""
    zone = Zone()
    for number, up in enumerate(history):
        zone.observe(bool(up), hours if number else 0.0)
    return zone
