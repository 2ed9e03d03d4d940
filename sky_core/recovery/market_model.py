"""What a zone's spot market will do next: up and down spells whose hazard falls with their age.

A semi-Markov process in phases of age. The longer a spell has lasted the longer it will last: measured over the public
traces (skypilot-org/spot-traces, the first halves of 2022-10-26 and 2023-02-15), the rate of a change falls by a
factor of ten and more from a spell's first minutes to its sixth hour. Zones differ by another factor of ten either
way, so each zone has two scales, for its up and its down rates, learnt from what was seen of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AGES = (1 / 6, 1 / 3, 2 / 3, 4 / 3, 8 / 3, 16 / 3, 32 / 3, 64 / 3)
"""Hours of age at which a phase ends; the last phase has no end."""
PHASES = len(AGES) + 1
UP_RATES = (1.65, 1.35, 0.94, 0.51, 0.27, 0.20, 0.12, 0.10, 0.07)
"""Preemptions per hour by phase, as measured."""
DOWN_RATES = (1.93, 1.46, 0.76, 0.60, 0.29, 0.28, 0.22, 0.17, 0.04)
"""Returns of spot per hour by phase, as measured."""
HASTE = 2.5
"""How much faster than measured the market is taken to change. It hedges: who trusts a long spell to last waits too
long, or stays away too long, when it does not. Tuned, with PRIOR_SPREAD, on the halves named above."""
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
PRIOR_SPREAD = 0.3
"""Standard deviation of the logarithm of a zone's scales."""


@dataclass(frozen=True)
class Model:
    """One guess at a zone: the rates of all zones, hastened, times its own scales."""

    up_scale: float
    down_scale: float

    @cached_property
    def rates(self) -> Floats:
        """(2, PHASES) changes per hour: of down spells, of up spells."""
        rates: Floats = HASTE * np.array([np.array(DOWN_RATES) * self.down_scale, np.array(UP_RATES) * self.up_scale])
        return rates

    def transition(self, hours: float) -> Floats:
        """(2, PHASES, 2, PHASES) chance to be down or up in each phase ``hours`` later, at most one change."""
        matrix = np.zeros((2, PHASES, 2, PHASES))
        change = 1 - np.exp(-self.rates * hours)
        lengths = np.diff([0.0, *AGES])
        older = np.append(np.minimum(1.0, hours / lengths), 0.0)
        for up in (0, 1):
            for phase in range(PHASES):
                matrix[up, phase, 1 - up, 0] += change[up, phase]
                stay = 1 - change[up, phase]
                matrix[up, phase, up, phase] += stay * (1 - older[phase])
                if older[phase] > 0:
                    matrix[up, phase, up, phase + 1] += stay * older[phase]
        return matrix

    @cached_property
    def life(self) -> Floats:
        """(PHASES,) mean hours that an up spell still lasts, from the beginning of a phase."""
        rates = self.rates[1]
        life = [1 / float(rates[-1])]
        for rate, length in zip(rates[-2::-1], np.diff([0.0, *AGES])[::-1], strict=True):
            leaving = 1 - math.exp(-rate * length)
            life.append(leaving / rate + (1 - leaving) * life[-1])
        return np.array(life[::-1])

    def age_weights(self, up: bool) -> Floats:
        """(PHASES,) the phase of a spell found under way: a share of all time spent in that state."""
        rates = self.rates[int(up)]
        survived, weights = 1.0, []
        for rate, length in zip(rates, [*np.diff([0.0, *AGES]), math.inf], strict=True):
            leaving = 1 - math.exp(-rate * length)
            weights.append(survived * leaving / rate)
            survived *= 1 - leaving
        return np.asarray(np.array(weights) / sum(weights))


MODELS = tuple(Model(up, down) for up, down in itertools.product(SCALES, SCALES))


def phase_of(age: float) -> int:
    """The phase of a spell that has lasted ``age`` hours."""
    return int(np.searchsorted(AGES, age + 1e-9, side="right"))


def _prior() -> Floats:
    scales = np.log([[model.up_scale, model.down_scale] for model in MODELS])
    return np.asarray(-0.5 * np.sum(scales**2, axis=1) / PRIOR_SPREAD**2)


@dataclass
class Zone:
    """What has been seen of one zone.

    Attributes:
        up: Whether spot was there last.
        age: Hours that this has lasted as far as was seen.
        known: Whether the spell's beginning was seen.
    """

    up: bool | None = None
    age: float = 0.0
    known: bool = False
    _log_odds: Floats = field(default_factory=_prior)

    def observe(self, up: bool, hours: float) -> None:
        """Spot is (not) there now, ``hours`` after the last look."""
        if self.up is not None and hours > 0:
            phase, before = phase_of(self.age), int(self.up)
            rates = RATES[:, before, phase] * hours
            self._log_odds = self._log_odds + (-rates if up == self.up else np.log(-np.expm1(-rates)))
        if self.up is None or up == self.up:
            self.age += hours if self.up is not None else 0.0
        else:
            self.age, self.known = 0.0, True
        self.up = up

    @property
    def weights(self) -> Floats:
        """(M,) how probable each of MODELS is."""
        odds = np.exp(self._log_odds - self._log_odds.max())
        return np.asarray(odds / odds.sum())

    @property
    def life(self) -> float:
        """Mean hours that spot will stay, or would if it came now."""
        return float(self.weights @ (LIFE @ self.phases if self.up else LIFE[:, 0]))

    @property
    def phases(self) -> Floats:
        """(PHASES,) how probable it is that the present spell is in each phase."""
        if self.known:
            return np.asarray(np.eye(PHASES)[phase_of(self.age)])
        weights = np.where(np.arange(PHASES) >= phase_of(self.age), AGE_WEIGHTS[int(bool(self.up))], 0.0)
        return np.asarray(weights / weights.sum())


RATES = np.array([model.rates for model in MODELS])
LIFE = np.array([model.life for model in MODELS])
AGE_WEIGHTS = [Model(1.0, 1.0).age_weights(up) for up in (False, True)]


def watch(history: Sequence[bool], step: float) -> Zone:
    """A zone with its past availability, oldest first, at steps of ``step`` hours."""
    zone = Zone()
    for number, up in enumerate(history):
        zone.observe(bool(up), step if number else 0.0)
    return zone
