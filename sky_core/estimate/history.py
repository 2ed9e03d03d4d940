"""What past runs of a task say about its next one: a small Bayesian regression.

The model: log hours = log(share + (1 - share) x input / usual input) + published pace of the machine
+ how far the sheet is off for it + level + noise. One share of the hours does not depend on the input; the data
sheet of each kind of machine is off by an error of its own, known beforehand only in size (:data:`SHEET_ERROR`).
Noise is Student's t, so that an absurd run counts little. Given the share everything is linear and Gaussian, so the
posterior is exact on a grid of shares; the weights of the runs and the noise's scale come by expectation
maximization (Lange, Little and Taylor, "Robust statistical modeling using the t distribution", JASA 1989).

All kinds of machine and the line are fitted at once. Fitting them in turns, or any one kind against another,
gives a ratio that depends on which came first; and what one kind's runs say of the level bears on all the others.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sky_core.estimate.kinds import Kind, kind_of_run, published_pace

if TYPE_CHECKING:
    from sky_core.store import Run

RECENT = 50
"""Runs looked at: code and data change, and older runs tell little."""
SHEET_ERROR = 0.25
"""Error of the published speed of one kind of machine for a task, as a standard deviation of the log."""
UNKNOWN_ERROR = 1.0
"""The same where published speeds do not compare."""
USUAL_NOISE = 0.1
"""Relative error of one run, as a standard deviation, before any is seen; it counts like two runs."""
TAIL = 4.0
"""Degrees of freedom of the noise."""
SHARES = np.linspace(0.02, 1.0, 50)
"""Shares of the hours at the usual input that do not depend on it."""
MOST_GROWTH = 1e6
"""An input as many times the usual one says nothing more about the hours; sizes next to nothing have no ratio."""
ROUNDS = 20
"""Of expectation maximization; it settles in about ten."""


@dataclass(frozen=True)
class Forecast:
    """The logarithm of the next run's hours on M kinds of machine, without the noise of the run.

    Attributes:
        mean: (M,) expected values.
        cov: (M, M) covariance of our belief.
        noise: Standard deviation of one run about its expectation.
    """

    mean: np.ndarray
    cov: np.ndarray
    noise: float


@dataclass(frozen=True)
class History:
    """The posterior of one task's run times. K kinds were tried; S is the length of :data:`SHARES`.

    Attributes:
        anchor: The kind that published paces are relative to: the first that was tried.
        tries: How many runs it rests on, by name of the kind, in the order of ``means``.
        usual_gb: Input that the shares refer to.
        belief: (S,) probability of each share.
        means: (S, 1 + K) expected log hours of the anchor by its sheet, then the error of each tried kind's sheet.
        cov: (1 + K, 1 + K) their covariance given the share, the same for all shares.
        noise: Standard deviation of the log of one run about the model.
    """

    anchor: Kind
    tries: Mapping[str, int]
    usual_gb: float
    belief: np.ndarray
    means: np.ndarray
    cov: np.ndarray
    noise: float

    @property
    def runs(self) -> int:
        """How many runs it rests on."""
        return sum(self.tries.values())

    def forecast(self, kinds: Sequence[Kind], input_gb: float) -> Forecast:
        """What to expect of the next run on each of ``kinds``, tried or not."""
        design = _design(kinds, list(self.tries))
        published = np.array([math.log(published_pace(kind, self.anchor)) for kind in kinds])
        growth = _log_growth(np.array([input_gb]), self.usual_gb)
        by_share = self.means @ design.T + growth + published
        mean = self.belief @ by_share
        off = by_share - mean
        untried = [0.0 if kind.name in self.tries else _sheet_error(kind, self.anchor) ** 2 for kind in kinds]
        cov = design @ self.cov @ design.T + (self.belief[:, None] * off).T @ off + np.diag(untried)
        return Forecast(mean, cov, self.noise)


def fit(runs: Sequence[Run], vcpus: Mapping[str, float]) -> History:
    """Fit the model to past runs (at least one), oldest first.

    Args:
        runs: Past successful runs of one task.
        vcpus: vCPUs by instance type, as far as known.
    """
    recent = runs[-RECENT:]
    kinds = [kind_of_run(run, vcpus) for run in recent]
    anchor = kinds[0]
    tried = {kind.name: kind for kind in kinds}
    size = np.array([run.input_gb for run in recent])
    usual_gb = float(np.mean(size))
    published = np.array([math.log(published_pace(kind, anchor)) for kind in kinds])
    log_hours = np.log([max(run.hours, 1e-6) for run in recent]) - published
    level = float(np.median(log_hours))
    target = log_hours - level - _log_growth(size, usual_gb)
    design = _design(kinds, list(tried))
    prior = np.array([1e-6] + [_sheet_error(kind, anchor) ** -2 for kind in tried.values()])
    weight, variance = np.ones(len(recent)), USUAL_NOISE**2
    for _ in range(ROUNDS):
        weighted = design * (weight / variance)[:, None]
        cov = np.linalg.inv(design.T @ weighted + np.diag(prior))
        means = target @ weighted @ cov
        misfit = (target - means @ design.T) ** 2
        evidence = -0.5 * (misfit @ (weight / variance) + means**2 @ prior)
        belief = np.exp(evidence - evidence.max())
        belief /= belief.sum()
        squares = belief @ misfit + np.einsum("ij,jk,ik->i", design, cov, design)
        weight = (TAIL + 1) / (TAIL + squares / variance)
        variance = (2 * USUAL_NOISE**2 + weight @ squares) / (2 + len(recent))
    means[:, 0] += level
    tries = Counter(kind.name for kind in kinds)
    return History(anchor, {name: tries[name] for name in tried}, usual_gb, belief, means, cov, math.sqrt(variance))


def _design(kinds: Sequence[Kind], tried: Sequence[str]) -> np.ndarray:
    """(len(kinds), 1 + K): the level counts for every kind, a sheet's error for its own."""
    own = [[kind.name == name for name in tried] for kind in kinds]
    return np.column_stack([np.ones(len(kinds)), np.array(own, dtype=float)])


def _log_growth(size: np.ndarray, usual_gb: float) -> np.ndarray:
    """(S, n) log of the hours at inputs ``size`` (n,) relative to those at the usual input, for each share."""
    relative = np.minimum(size, MOST_GROWTH * usual_gb) / usual_gb if usual_gb > 0 else np.ones_like(size)
    growth: np.ndarray = np.log(SHARES[:, None] + (1 - SHARES[:, None]) * relative)
    return growth


def _sheet_error(kind: Kind, anchor: Kind) -> float:
    return SHEET_ERROR if kind.compares(anchor) else UNKNOWN_ERROR


def next_input_gb(runs: Sequence[Run]) -> float:
    """GB the next run will probably read: the last run's, plus the usual growth from run to run."""
    sizes = [run.input_gb for run in runs[-RECENT:]]
    growth = [after - before for before, after in itertools.pairwise(sizes)]
    return max(0.0, sizes[-1] + (statistics.median(growth) if growth else 0.0))
