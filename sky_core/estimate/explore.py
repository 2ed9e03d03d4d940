"""Which kinds of machine are worth a try, and what a try may take at worst."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from sky_core.estimate.history import Forecast
from sky_core.estimate.kinds import Kind

PAYBACK_RUNS = 20
"""Runs within which a try has to have paid for itself."""
WORST = 1.64
"""Standard deviations from the expected to the worst that is reckoned with: one in twenty is worse."""
CAUTION = 0.25
"""What is added to the hours of plain machines never tried: there are hundreds, too like each other to try in turn."""


def outlook(forecast: Forecast, kinds: Sequence[Kind], rates: Sequence[float], tried: Collection[str]) -> np.ndarray:
    """(M,) what to multiply ``exp(forecast.mean)`` with, so that who takes the cheapest also learns.

    Who always takes the machine that looks cheapest stays with the first that is good enough. So a kind's hours are
    read at its reservation value (Weitzman, "Optimal search for the best alternative", Econometrica 1979): as low
    as the price would have to be at which a try is no longer worth it. What one run may teach is the standard
    deviation of how the expected difference to the best other kind will have moved after it (the knowledge
    gradient with correlated beliefs: Frazier, Powell and Dayanik, INFORMS Journal on Computing 2009).

    Args:
        forecast: What is believed of the M kinds.
        kinds: The M kinds.
        rates: (M,) USD per hour of the cheapest candidate of each kind.
        tried: Names of the kinds that the task ran on.
    """
    cov, variance = forecast.cov, np.diag(forecast.cov)
    cost = np.asarray(rates) * np.exp(forecast.mean + variance / 2)
    in_play = [one for one, kind in enumerate(kinds) if kind.name in tried or kind.unit == "tflops"]
    in_play.sort(key=lambda one: float(cost[one]))
    factors = np.full(len(kinds), 1 + CAUTION)
    for one in in_play:
        rival = next((other for other in in_play if other != one), one)
        learnt = abs(cov[one, one] - cov[one, rival]) / math.sqrt(cov[one, one] + forecast.noise**2)
        factors[one] = math.exp(variance[one] / 2) * reservation(float(learnt))
    return factors


def at_worst(forecast: Forecast, first: int) -> np.ndarray:
    """(M,) hours at worst if the kind ``first`` takes what is expected of it; for that one, what is expected."""
    cov = forecast.cov
    apart = np.maximum(np.diag(cov) + cov[first, first] - 2 * cov[first], 0.0)
    worst: np.ndarray = np.exp(forecast.mean + WORST * np.sqrt(apart))
    return worst


def longest(forecast: Forecast) -> np.ndarray:
    """(M,) hours that one run takes at worst, its own noise included."""
    hours: np.ndarray = np.exp(forecast.mean + WORST * np.sqrt(np.diag(forecast.cov) + forecast.noise**2))
    return hours


def reservation(sd: float) -> float:
    """The price g at which one try of a thing of price X is just worth it to somebody who has it for g elsewhere.

    A try costs E[X] - g at once and then saves E[max(g - X, 0)] in each of :data:`PAYBACK_RUNS` runs. X is
    log-normal with mean 1 and ``sd`` in the log, so that the saving is Black's price of a put.
    """
    if sd < 1e-6:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        price = (low + high) / 2
        d = (math.log(price) + sd * sd / 2) / sd
        saving = price * _normal(d) - _normal(d - sd)
        low, high = (price, high) if price + PAYBACK_RUNS * saving < 1 else (low, price)
    return (low + high) / 2


def _normal(z: float) -> float:
    """Probability that a standard normal variable is below z."""
    return 0.5 * math.erfc(-z / math.sqrt(2))
