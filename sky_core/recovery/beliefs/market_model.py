"""What a zone's spot market will do next: up and down spells whose hazard falls with their age.

A semi-Markov process in phases of age. On the public traces (skypilot-org/spot-traces, the first halves of 2022-10-26
and 2023-02-15; SkyNomad's H100 zones, the first half) the rate at which a spell ends falls from about two an hour in
its first ten minutes to a tenth of that after five hours, much alike for up and down spells and for all three sets, and
to a sixtieth for up spells of a day; of down spells too few (ten) lasted as long to tell.
Zones differ: each has two scales, of its up and of its down rates, learnt from what was seen of it lately.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AGES = (1 / 6, 1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 64 / 3)
"""Hours of age at which a phase ends; the last phase has no end."""
PHASES = len(AGES) + 1
LENGTHS = np.diff([0.0, *AGES])
RATES = np.array([(1.93, 1.46, 0.9, 0.60, 0.28, 0.22, 0.12, 0.12), (1.75, 1.35, 0.85, 0.58, 0.27, 0.18, 0.09, 0.03)])
"""(2, PHASES) returns of spot and preemptions per hour by phase, as measured."""
SCALES = np.array([0.4, 1.0, 2.5])
"""What a zone's rates may be in units of RATES."""
SPREAD = 0.412
"""Standard deviation of the logarithm of a zone's scales; by a random-effects fit to the AWS halves 0.35 for down
spells, 0.5 for up spells; between them chosen on SkyNomad's windows."""
MEMORY = 24.0
"""Hours after which what was seen of a zone counts for 1/e."""
PRIOR = np.tile(-0.5 * (np.log(SCALES) / SPREAD) ** 2, (2, 1))

SCALED = SCALES[:, None, None] * RATES
"""(SCALES, 2, PHASES) changes per hour."""


def _from_the_end() -> tuple[Floats, Floats]:
    """(SCALES, 2, PHASES) mean hours that a spell still lasts, from a phase's beginning; chances to get so far."""
    leaving = np.append(1 - np.exp(-SCALED[..., :-1] * LENGTHS), np.ones((*SCALED.shape[:2], 1)), axis=-1)
    reached = np.append(np.ones((*SCALED.shape[:2], 1)), np.cumprod(1 - leaving[..., :-1], axis=-1), axis=-1)
    life = np.cumsum((reached * leaving / SCALED)[..., ::-1], axis=-1)[..., ::-1] / reached
    return life, reached


LIFE, _REACHED = _from_the_end()


@lru_cache(maxsize=256)
def step(hours: float) -> tuple[Floats, Floats]:
    """What becomes of spells within ``hours``.

    Returns:
        (SCALES, 2, PHASES, PHASES) chances to go on, by phase before and after, and (SCALES, 2, PHASES) to end.
    """
    return transitions(SCALED, hours)


def transitions(rates: Floats, hours: float) -> tuple[Floats, Floats]:
    """The same for any rates (…, PHASES) per hour."""
    parts = max(1, math.ceil(hours / FINEST))
    part = hours / parts
    older = np.append(np.minimum(1.0, part / LENGTHS), 0.0)
    age = np.diag(1 - older) + np.diag(older[:-1], k=1)
    stay = np.linalg.matrix_power(np.exp(-rates * part)[..., None] * age, parts)
    return stay, 1 - stay.sum(axis=-1)


def chain(rates: Floats, hours: float) -> Floats:
    """(…, 2, PHASES) rates to (…, 2 PHASES, 2 PHASES) chances from state to state: down by phase, then up by phase."""
    stay, end = transitions(rates, hours)
    whole = np.zeros((*rates.shape[:-2], 2 * PHASES, 2 * PHASES))
    whole[..., :PHASES, :PHASES], whole[..., PHASES:, PHASES:] = stay[..., 0, :, :], stay[..., 1, :, :]
    whole[..., :PHASES, PHASES], whole[..., PHASES:, 0] = end[..., 0, :], end[..., 1, :]
    return whole


FINEST = 1 / 12
"""Hours: longer steps are worked out as several, since a young spell ages within them."""
BLIND_STEP = 1 / 6
"""Hours: what becomes of a zone that nobody looks at is worked out in steps of this length."""
_EVERY = np.stack([np.broadcast_to(SCALED[None, :, 0], (len(SCALES), len(SCALES), PHASES)),
                   np.broadcast_to(SCALED[:, None, 1], (len(SCALES), len(SCALES), PHASES))], axis=2)  # fmt: skip
_BLIND = chain(_EVERY, BLIND_STEP)  # (up scale, down scale, 2 PHASES, 2 PHASES)


def phase_of(age: float) -> int:
    """The phase of a spell that has lasted ``age`` hours."""
    return int(np.searchsorted(AGES, age + 1e-9, side="right"))


class Zone:
    """What has been seen of one zone.

    Attributes:
        up: Whether spot was there last; None if nobody ever looked.
        age: Hours that this has lasted as far as was seen.
        known: Whether the spell's beginning was seen.
        blind: Hours since the last look.
    """

    def __init__(self) -> None:
        self.up: bool | None = None
        self.age, self.known, self.blind = 0.0, False, 0.0
        self._log_odds = PRIOR.copy()
        self._rates: Floats | None = None
        self._phases = np.full(PHASES, 1 / PHASES)  # of a spell whose beginning was not seen

    def look_away(self, hours: float) -> None:
        """Time passes and nobody looks."""
        self.blind += hours

    def observe(self, up: bool, hours: float) -> None:
        """Spot is (not) there now, ``hours`` after the last look or the last time that nobody looked."""
        gap, watched = self.blind + hours, self.blind == 0.0 and self.up is not None
        before = None if watched else self.forecast(hours)
        self.blind, self._rates = 0.0, None
        if before is None and gap > 0:
            self._forget(gap)
            self._follow(up, gap)
        elif before is not None:
            if self.up is not None:
                self._forget(gap)
                self._weigh_gap(up, gap)
            self._begin(up, before)
        elif up != self.up:
            self.age, self.known = 0.0, True
        self.up = up

    def _forget(self, hours: float) -> None:
        self._log_odds += (PRIOR - self._log_odds) * -math.expm1(-hours / MEMORY)

    def _follow(self, up: bool, hours: float) -> None:
        """A spell that is watched goes on or ends."""
        state = int(bool(self.up))
        rates = SCALED[:, state, phase_of(self.age)] * hours
        self._log_odds[state] += -rates if up == self.up else np.log(-np.expm1(-rates))
        if up == self.up:
            self.age += hours
            older = np.einsum("p,s,spq->q", self._phases, self.weights(up), step(hours)[0][:, state])
            self._phases = older / older.sum()
        else:
            self.age, self.known = 0.0, True

    def _weigh_gap(self, up: bool, hours: float) -> None:
        """What it says of the scales that spot is (not) there after hours in which nobody looked."""
        state = int(bool(self.up))
        start = np.zeros(2 * PHASES)
        start[state * PHASES : (state + 1) * PHASES] = self.phases()
        then = start @ np.linalg.matrix_power(_BLIND, max(1, round(hours / BLIND_STEP)))
        seen = then[..., PHASES:].sum(axis=-1) if up else then[..., :PHASES].sum(axis=-1)
        both = self.weights(True)[:, None] * self.weights(False)[None, :] * seen
        for one, axis in ((1, 1), (0, 0)):
            self._log_odds[one] = np.log(both.sum(axis=axis) / both.sum())

    def _begin(self, up: bool, before: Floats) -> None:
        """Take up a spell in its midst."""
        half = before[PHASES:] if up else before[:PHASES]
        self.age, self.known, self._phases = 0.0, False, half / half.sum()

    def forecast(self, hours: float = 0.0) -> Floats:
        """(2 PHASES,) how probable each state is, so many hours on: down by phase, then up by phase."""
        rates = self.rates()
        if self.up is None:
            return _stationary(rates)
        start = np.zeros(2 * PHASES)
        begin = PHASES if self.up else 0
        start[begin : begin + PHASES] = self.phases()
        gap = self.blind + hours
        if gap < 1e-9:
            return start
        steps = max(1, round(gap / BLIND_STEP))
        return np.asarray(start @ np.linalg.matrix_power(chain(rates, gap / steps), steps))

    def rates(self) -> Floats:
        """(2, PHASES) ends of a spell per hour, by phase: the mean over what is believed, of spells that get so far."""
        if self._rates is None:
            self._rates = self._mean_rates()
        return self._rates

    def _mean_rates(self) -> Floats:
        weights = np.stack([self.weights(False), self.weights(True)], axis=1)[..., None] * _REACHED
        return np.asarray((weights * SCALED).sum(axis=0) / weights.sum(axis=0))

    def weights(self, up: bool) -> Floats:
        """(SCALES,) how probable each scale of the up or down rates is."""
        odds = np.exp(self._log_odds[int(up)] - self._log_odds[int(up)].max())
        return np.asarray(odds / odds.sum())

    def phases(self) -> Floats:
        """(PHASES,) how probable it was at the last look that the spell was in each phase."""
        return np.eye(PHASES)[phase_of(self.age)] if self.known else self._phases

    def life(self) -> float:
        """Mean hours that spot will stay, or would if it came now."""
        lives = self.weights(up=True) @ LIFE[:, 1]
        return float(lives @ self.phases() if self.up else lives[0])

    def availability(self) -> float:
        """The share of time that spot is there in the long run."""
        up, down = (float(self.weights(state) @ LIFE[:, int(state), 0]) for state in (True, False))
        return up / (up + down)


def spells(rates: Floats) -> tuple[Floats, Floats]:
    """(…, PHASES) rates to mean hours (…) of a whole spell, and chances (…, PHASES) to find one in each phase."""
    leaving = np.append(-np.expm1(-rates[..., :-1] * LENGTHS), np.ones((*rates.shape[:-1], 1)), axis=-1)
    reached = np.append(np.ones((*rates.shape[:-1], 1)), np.cumprod(1 - leaving[..., :-1], axis=-1), axis=-1)
    spent = reached * leaving / rates
    whole = spent.sum(axis=-1)
    return whole, spent / whole[..., None]


def _stationary(rates: Floats) -> Floats:
    whole, found = spells(rates)
    return np.asarray((found * (whole / whole.sum())[:, None]).reshape(-1))


def watch(history: Sequence[bool], hours: float) -> Zone:
    """A zone with its past availability, oldest first, at steps of ``hours``."""
    zone = Zone()
    for number, up in enumerate(history):
        zone.observe(bool(up), hours if number else 0.0)
    return zone
