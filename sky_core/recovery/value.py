"""What it is worth to be idle, on spot or on-demand, by time left and slack, for each kind of market.

A stochastic dynamic program over (time left, slack, mode, phase of the market): slack is time left minus work left.
Running keeps it, waiting spends it by the hour, every start spends the changeover. Prices are in units of the spot
price. The market is that of the zone at hand, with the others behind it: when spot is taken there, it is to be had
elsewhere, for another changeover, with a chance that is an axis of the tables. They depend on the changeover and the
price ratio only, not on the job, and are kept on grids that are fine where time and slack are short.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sky_core.recovery.market_model import AGE_WEIGHTS, PHASES, SCALES, step

Floats = NDArray[np.float32]

ELSEWHERE = (0.0, 0.7, 0.98)  # chances of spot elsewhere
STEPS = 360  # of the horizon
KEPT = 1.15  # ratio of two values of time left that are kept
SLACK = 1.12  # ratio of two values of slack, beyond two changeovers
LATE = 3.0  # price of an hour of missing slack, in on-demand hours: the safety net never lets it come to that


@dataclass(frozen=True)
class Values:
    """Cost to go in spot-price hours.

    Attributes:
        times, slacks: Hours, the grids of the first axis and the last.
        idle, on_demand: (times, up scale, down scale, ELSEWHERE, down or up, phase, slacks).
        spot: (times, up scale, down scale, ELSEWHERE, phase, slacks), with spot up.
    """

    times: list[float]
    slacks: list[float]
    idle: Floats
    on_demand: Floats
    spot: Floats

    def at(self, table: Floats, time_left: float, slack: float) -> Floats:
        """The table's inner axes at a time and slack, by interpolation; beyond the grids their ends count."""
        r, later = bracket(self.times, time_left)
        s, looser = bracket(self.slacks, slack)
        near = table[r : r + 2, ..., s : s + 2]
        near = near[0] * (1 - later) + near[1] * later
        return np.asarray(near[..., 0] * (1 - looser) + near[..., 1] * looser)


def bracket(grid: list[float] | tuple[float, ...], value: float) -> tuple[int, float]:
    """The interval of the grid where a value lies, and how far into it (0 to 1)."""
    low = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return low, min(max((value - grid[low]) / (grid[low + 1] - grid[low]), 0.0), 1.0)


@lru_cache(maxsize=16)
def values(changeover: float, price_ratio: float, horizon: float) -> Values:
    """Solve for all jobs with that changeover (hours) and price ratio and up to ``horizon`` hours left.

    Takes about 0.1 s; tables for two days and a changeover of 12 minutes take 4 MB.
    """
    count = math.ceil(math.log(1 + horizon / (2 * changeover)) / math.log(SLACK)) + 1
    slacks = np.asarray(2 * changeover * (SLACK ** np.arange(count) - 1), dtype=np.float64)
    hours = horizon / STEPS
    recursion = _Recursion(slacks, changeover, price_ratio, hours)
    times, kept = [0.0], [recursion.tables]
    for number in range(1, STEPS + 1):
        recursion.back(number * hours)
        if number == STEPS or number * hours >= times[-1] * KEPT:
            times.append(number * hours)
            kept.append(recursion.tables)
    idle, on_demand, spot = (np.stack(tables) for tables in zip(*kept, strict=True))
    return Values(times, slacks.tolist(), idle, on_demand, spot)


class _Recursion:
    """One step of ``hours`` after the other, towards the beginning."""

    def __init__(self, slacks: NDArray[np.float64], changeover: float, price_ratio: float, hours: float) -> None:
        self.slack, self.k, self.hours = slacks, price_ratio, hours
        self.start, self.wait = _Shift(slacks, changeover), _Shift(slacks, hours)
        late = LATE * price_ratio
        # What the safety net will not have is dear: to be left with less than a changeover, or two on starting spot.
        self.missing = (np.maximum(0.0, changeover - slacks) * late).astype(np.float32)
        self.forbidden = (np.maximum(0.0, 2 * changeover - slacks) * late).astype(np.float32)
        self.short = (np.clip(changeover + hours - slacks, 0.0, hours) * late).astype(np.float32)
        stay, end = step(hours)
        self.stay, self.end = stay.astype(np.float32), end.astype(np.float32)[..., None]
        self.elsewhere = np.array(ELSEWHERE, dtype=np.float32)[:, None]
        self.found = AGE_WEIGHTS[:, 1].astype(np.float32)  # phases of spot elsewhere
        shape = (len(SCALES), len(SCALES), len(ELSEWHERE), 2, PHASES, len(slacks))
        zero = np.zeros(shape, dtype=np.float32)
        self.tables = (zero, zero.copy(), zero[..., 1, :, :].copy())

    def back(self, now: float) -> None:
        """To time left ``now`` from one step less."""
        idle, on_demand, spot = self._decided()
        work = now - self.slack
        paid = np.clip(work, 0.0, self.hours).astype(np.float32)  # hours of the step until the work is done
        lost = self._lost(idle)
        after_idle = self.wait(self._expect(idle, lost)) + self.short
        after_on_demand = self.k * paid + self._expect(on_demand, self._lost(on_demand))
        after_spot = paid + self._up(spot, lost)
        going = (work > 0).astype(np.float32)
        self.tables = (after_idle * going, after_on_demand * going, after_spot * going)

    def _decided(self) -> tuple[Floats, Floats, Floats]:
        """The value of each mode before a decision: the best of where one can go from there."""
        idle, on_demand, spot = self.tables
        start_on_demand, start_spot = self.start(on_demand) + self.missing, self.start(spot) + self.forbidden
        from_idle = np.minimum(idle, start_on_demand)
        from_on_demand = np.minimum(on_demand, idle)
        for table in (from_idle, from_on_demand):
            np.minimum(table[..., 1, :, :], start_spot, out=table[..., 1, :, :])
        return from_idle, from_on_demand, np.minimum(spot, start_on_demand[..., 1, :, :])

    def _lost(self, table: Floats) -> Floats:
        """(…, S): spot was just taken; maybe it is to be had elsewhere."""
        other = np.einsum("up,udqps->udqs", self.found, table[..., 1, :, :], optimize=False)
        return np.asarray((1 - self.elsewhere) * table[..., 0, 0, :] + self.elsewhere * other)

    def _up(self, up: Floats, lost: Floats) -> Floats:
        """The expectation a step later with spot up now."""
        goes_on = np.matmul(self.stay[:, 1][:, None, None], up)
        return np.asarray(goes_on + self.end[:, 1][:, None, None] * lost[..., None, :])

    def _expect(self, table: Floats, lost: Floats) -> Floats:
        """The expectation a step later by the market now."""
        goes_on = np.matmul(self.stay[:, 0][:, None], table[..., 0, :, :])
        down = goes_on + self.end[:, 0][:, None] * table[..., 1, :1, :]
        return np.stack([down, self._up(table[..., 1, :, :], lost)], axis=-3)


class _Shift:
    """A table at a slack that is less by so many hours (at its least where there is none), by interpolation."""

    def __init__(self, slacks: NDArray[np.float64], hours: float) -> None:
        less = np.maximum(slacks - hours, 0.0)
        self.low = np.clip(np.searchsorted(slacks, less, side="right") - 1, 0, len(slacks) - 2)
        self.part = ((less - slacks[self.low]) / (slacks[self.low + 1] - slacks[self.low])).astype(np.float32)

    def __call__(self, table: Floats) -> Floats:
        """(…, S) the same axes."""
        return np.asarray(table[..., self.low] * (1 - self.part) + table[..., self.low + 1] * self.part)
