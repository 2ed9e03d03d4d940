"""What it is worth to be idle, on spot or on-demand, by time left and slack, under each model of the market.

A stochastic dynamic program over (time left, slack, mode, phase of the market): slack is time left minus work left.
Running keeps it, waiting spends it by the hour, every start spends the changeover. Prices are in units of the spot
price. It is solved backwards once for a job and all models at a time; what is kept is the value of each mode *after*
the decision, so that a decision is three look-ups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sky_core.recovery.market_model import MODELS, PHASES

Floats = NDArray[np.float32]

STEPS = 360  # of the time from submission to deadline
KEPT = 2  # every so many steps are kept
LATE = 3.0  # price of an hour of missing slack, in on-demand hours: the safety net never lets it come to that


@dataclass(frozen=True)
class Values:
    """Cost to go in spot-price hours.

    Attributes:
        step: Hours between two values of slack; ``KEPT`` times as many between two of time left.
        idle, on_demand: (R, M, 2, PHASES, S) by time left, model, down or up, phase, slack.
        spot: (R, M, PHASES, S) with spot up.
    """

    step: float
    idle: Floats
    on_demand: Floats
    spot: Floats

    def at(self, table: Floats, market: tuple[Any, ...], time_left: float, slack: float) -> Floats:
        """Interpolate a table; ``market`` picks from the axes between time and slack."""
        r = min(max(time_left / (self.step * KEPT), 0.0), table.shape[0] - 1.0)
        s = min(max(slack / self.step, 0.0), table.shape[-1] - 1.0)
        low_r, low_s = min(int(r), table.shape[0] - 2), min(int(s), table.shape[-1] - 2)
        part_r, part_s = r - low_r, s - low_s
        corner = table[(slice(low_r, low_r + 2), *market, slice(low_s, low_s + 2))]
        by_time = corner[0] * (1 - part_r) + corner[1] * part_r
        return np.asarray(by_time[..., 0] * (1 - part_s) + by_time[..., 1] * part_s)


@lru_cache(maxsize=8)
def values(total_time: float, total_work: float, changeover: float, price_ratio: float) -> Values:
    """Solve for jobs of up to that time and slack (hours)."""
    step = total_time / STEPS
    slacks = max(3, math.ceil((total_time - total_work) / step) + 2)
    recursion = _Recursion(step, slacks, changeover / step, price_ratio)
    kept = [recursion.tables]
    for r in range(1, STEPS + KEPT):
        recursion.back(r)
        if r % KEPT == 0:
            kept.append(recursion.tables)
    idle, on_demand, spot = (np.stack(tables) for tables in zip(*kept, strict=True))
    return Values(step, idle, on_demand, spot)


class _Recursion:
    """One step of time after the other, towards the beginning. Times are in steps."""

    def __init__(self, step: float, slacks: int, delay: float, price_ratio: float) -> None:
        self.step, self.delay, self.k = step, delay, price_ratio
        self.slack = np.arange(slacks, dtype=np.float32)
        moves = np.array([model.transition(step) for model in MODELS], dtype=np.float32)
        self.moves = moves.reshape(len(MODELS), 2 * PHASES, 2 * PHASES)
        shape = (len(MODELS), 2, PHASES, slacks)
        zero = np.zeros(shape, dtype=np.float32)
        self.tables = (zero, zero.copy(), zero[:, 1].copy())

    def back(self, r: int) -> None:
        """From time left r - 1 to r."""
        idle, on_demand, spot = self._decided()
        work = r - self.slack
        share = np.clip(work, 0.0, 1.0)  # of the step until the work is done
        to_idle = self._expect(idle)
        waited = np.concatenate([to_idle[..., :1], to_idle[..., :-1]], axis=-1)
        short = np.maximum(0.0, self.delay + 1 - self.slack) * (LATE * self.k * self.step)
        after_idle = waited + short * (work > 0)
        after_on_demand = self.k * self.step * share + self._expect(on_demand)
        lost = np.stack([idle[:, 0], spot], axis=1)  # from spot: a preemption leads to idle
        after_spot = self.step * share + self._expect(lost)[:, 1]
        done = work <= 0
        self.tables = tuple(
            np.where(done, 0.0, table).astype(np.float32) for table in (after_idle, after_on_demand, after_spot)
        )  # type: ignore[assignment]

    def _decided(self) -> tuple[Floats, Floats, Floats]:
        """The value of each mode before a decision: the best of where one can go from there."""
        idle, on_demand, spot = self.tables
        start_on_demand, start_spot = self._started(on_demand), self._started(spot)
        from_idle = np.minimum(idle, start_on_demand)
        from_idle[:, 1] = np.minimum(from_idle[:, 1], start_spot)
        from_on_demand = np.minimum(on_demand, idle)
        from_on_demand[:, 1] = np.minimum(from_on_demand[:, 1], start_spot)
        from_spot = np.minimum(spot, start_on_demand[:, 1])
        return from_idle, from_on_demand, from_spot

    def _started(self, table: Floats) -> Floats:
        """The table at a slack that is less by the changeover."""
        low = math.floor(self.delay)
        part = self.delay - low
        padded = np.concatenate([np.repeat(table[..., :1], low + 1, axis=-1), table], axis=-1)
        count = table.shape[-1]
        shifted = padded[..., 1 : 1 + count] * (1 - part) + padded[..., :count] * part
        missing = np.maximum(0.0, self.delay - self.slack) * (LATE * self.k * self.step)
        return np.asarray(shifted + missing, dtype=np.float32)

    def _expect(self, table: Floats) -> Floats:
        """The expectation over the market a step later, by the market now."""
        flat = table.reshape(len(MODELS), 2 * PHASES, -1)
        return np.asarray(np.matmul(self.moves, flat).reshape(table.shape))
