"""A policy that knows the next hours of the market and nothing beyond: for simulation only, nobody can know that.

*Can't Be Late* (NSDI'24, section 5.3.2) cuts the time to the deadline into slices and plans each with its availability
known, so that progress is uniform at its end. Here the window moves along with time: at every tick the cheapest way
through it is found by dynamic programming, backwards, exact to the second, and its first step is taken. What is left
at the window's end is taken to cost what it costs on demand, its start included, and more by far where progress is
behind a straight line from start to deadline. With a window that reaches the deadline it is the optimum of hindsight.

A state is (work left, where, how much of the changeover is left), as in :mod:`~lab.omniscient`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.traces import Traces
from sky_core.recovery.reference import IDLE, on_demand
from sky_core.recovery.situation import Decision, Situation

Costs = NDArray[np.float64]

BEHIND = 100.0  # price of an hour of progress that is missing at the window's end, in on-demand hours


@dataclass(frozen=True)
class PartialLookahead:
    """The cheapest way through the hours that can be foreseen. Needs no safety net: no plan of its own is ever late.

    Moving between zones costs a changeover but no egress. Work, changeover and the ticks' length (hours) must be whole
    seconds.

    Args:
        traces: The zones that are simulated.
        start: The tick at which the job starts.
        window: Hours that are known ahead, at least those of a changeover and a tick.
    """

    traces: Traces
    start: int
    window: float

    def decide(self, situation: Situation) -> Decision:
        """The first step of the cheapest plan; of those that cost the same, the one that leaves on-demand for later."""
        tick = self.start + round(situation.now / self.traces.step)
        ahead = math.ceil(min(self.window, situation.time_to_deadline) / self.traces.step - 1e-9)
        plan = _Plan(self.traces.between(tick, tick + ahead), situation)
        options = plan.first_steps()
        least = min(cost for cost, _ in options)
        return next((step for cost, step in options if cost <= least + 1e-9 < math.inf), on_demand(situation))


class _Plan:
    """The costs of all ways through a window. Times are in units, prices in USD per unit, places are zones of spot and,
    last, on-demand; arrays end with an axis of work left, up to all of it."""

    def __init__(self, ahead: Traces, situation: Situation) -> None:
        tick_s, delay_s, total_s = (
            round(hours * 3600) for hours in (ahead.step, situation.changeover, situation.total_work)
        )
        unit = math.gcd(tick_s, delay_s, total_s) / 3600
        self.tick, self.delay = round(ahead.step / unit), round(situation.changeover / unit)
        self.left = [0, *range(self.delay - self.tick, 0, -self.tick)]  # changeover still to go, by phase
        self.time = situation.time_to_deadline / unit + 1e-6
        most = max(1, math.ceil(situation.remaining_work / unit - 1e-6))
        self.work = np.arange(max(0, most - ahead.ticks * self.tick), most + 1)
        on = on_demand(situation)
        self.places = [*(Decision("spot", zone) for zone in ahead.up), on]
        prices = [*(situation.spot_price[zone] for zone in ahead.up), situation.on_demand_price[on.zone or ""]]
        self.prices = np.array(prices)[:, np.newaxis] * unit
        self.up = np.array([*ahead.up.values(), np.ones(ahead.ticks, dtype=bool)])
        self.idle, self.running = self._end(situation.total_work / situation.total_time)
        for t in range(ahead.ticks - 1, 0, -1):
            self._back(t)
        self.here = Decision(situation.state, situation.zone)
        self.here_left = min(self.left, key=lambda left: abs(left * unit - situation.changeover_left))

    def first_steps(self) -> list[tuple[float, Decision]]:
        """What each way to begin costs in all; spot before idle before on-demand."""
        costs = np.where(self.up[:, 0], self._spend(0, self.delay)[:, -1], np.inf)
        if self.here in self.places:
            place = self.places.index(self.here)
            costs[place] = self._spend(0, self.here_left)[place, -1] if self.up[place, 0] else np.inf
        steps = list(zip(costs.tolist(), self.places, strict=True))
        return [*steps[:-1], (float(self.idle[-1]), IDLE), steps[-1]]

    def _end(self, pace: float) -> tuple[Costs, Costs]:
        """Costs at the window's end: (S,) of being idle, and (P, F, S) of being at a place in a phase."""
        begun = np.array(self.left)[:, np.newaxis]
        rest = self.time - self.up.shape[1] * self.tick
        if rest <= 0:  # the deadline
            late = np.where(self.work > 0, np.inf, 0.0)
            return late, np.broadcast_to(late, (len(self.places), len(self.left), len(self.work)))
        missing = np.maximum(0.0, self.work - pace * rest)

        def cost(begin: int | NDArray[np.int_], at_worst: int | NDArray[np.int_]) -> Costs:
            """On demand, with what a start takes; where spot is lost that may be more."""
            in_time = self.work + at_worst <= rest
            return np.where(in_time, self.prices[-1] * (self.work + begin + BEHIND * missing), np.inf)

        spot, on = cost(begun, self.delay), cost(begun, begun)
        return cost(self.delay, self.delay), np.stack([*[spot] * (len(self.places) - 1), on])

    def _back(self, t: int) -> None:
        """From the start of the next tick to that of tick ``t``: stay, or give up and start elsewhere, or be idle."""
        up = self.up[:, t, np.newaxis]
        stays = np.stack([self._spend(t, left) for left in self.left], axis=1)
        starts = np.where(up, self._spend(t, self.delay), np.inf).min(axis=0)
        self.idle = np.minimum(self.idle, starts)
        self.running = np.minimum(self.idle, np.where(up[:, np.newaxis], stays, np.inf))

    def _spend(self, t: int, left: int) -> Costs:
        """(P, S) the cost of tick ``t`` and all that follows at each place with ``left`` of a changeover to go."""
        gain, still = max(0, self.tick - left), max(0, left - self.tick)
        later = self.running[:, self.left.index(still)]
        costs = np.full(later.shape, np.inf)
        costs[:, gain:] = later[:, : max(0, len(self.work) - gain)] + self.prices * self.tick
        last = np.searchsorted(self.work, gain, side="right")  # up to here the work ends within the tick
        spent = self.work[:last] + left
        costs[:, :last] = np.where(t * self.tick + spent <= self.time, self.prices * spent, np.inf)
        return costs
