"""The cheapest way to run a job for somebody who knows the whole trace: the yardstick, exact by dynamic programming.

Forward over ticks; a state is (work done, where, how much of the changeover is left). All times are whole multiples
of a unit that divides the tick, the changeover and the work, so that nothing is rounded. As the recursion goes
forward, one pass answers for every deadline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lab.traces import Traces

Costs = NDArray[np.float64]


def omniscient_costs(
    traces: Traces,
    *,
    work: float,
    deadlines: Sequence[float],
    changeover: float,
    spot_price: float,
    on_demand_price: float,
    start: int = 0,
) -> list[float]:
    """The least cost in USD for each deadline (hours, any order); inf where the job cannot end by it.

    Decisions are made at ticks. Prices are the same in all zones, and moving between zones costs a changeover but no
    egress. A gang of machines is all on spot or all on-demand (NSDI'24, section A.7.2: homogeneous) and its prices are
    those of all of them. Work, changeover and the ticks' length (hours) must be whole seconds.

    Raises:
        ValueError: if the traces end before the last deadline does.
    """
    tick_s, delay_s, work_s = (round(hours * 3600) for hours in (traces.step, changeover, work))
    unit = math.gcd(tick_s, delay_s, work_s)
    ticks = math.ceil(max(deadlines) / traces.step - 1e-9)
    if start + ticks > traces.ticks:
        raise ValueError(f"the traces have {traces.ticks - start} ticks from {start} on, {ticks} are needed")
    prices = [spot_price * unit / 3600] * len(traces.up) + [on_demand_price * unit / 3600]
    always = np.ones(ticks, dtype=bool)
    up = [values[start : start + ticks] for values in traces.up.values()] + [always]
    search = _Search(
        tick_s // unit, delay_s // unit, work_s // unit, prices, [hours * 3600 / unit + 1e-6 for hours in deadlines]
    )
    for t in range(ticks):
        search.advance(t, [bool(values[t]) for values in up])
    return search.best


@dataclass
class _Search:
    """All costs of being somewhere at the start of a tick. Times are in units, prices in USD per unit."""

    tick: int
    delay: int
    total: int
    prices: list[float]
    limits: list[float]
    left: list[int] = field(init=False)  # changeover still to go, by phase; phase 0 is past it
    best: list[float] = field(init=False)
    idle: Costs = field(init=False)
    running: list[list[Costs]] = field(init=False)  # by place and phase

    def __post_init__(self) -> None:
        self.left = [0, *range(self.delay - self.tick, 0, -self.tick)]
        self.best = [math.inf] * len(self.limits)
        self.idle = np.full(self.total, np.inf)
        self.idle[0] = 0.0
        self.running = [[np.full(self.total, np.inf) for _ in self.left] for _ in self.prices]

    def advance(self, t: int, up: list[bool]) -> None:
        """One tick: whoever was somewhere stays, ends, or gives up and starts elsewhere."""
        free = self.idle
        for phases in self.running:
            for cost in phases:
                free = np.minimum(free, cost)
        for place, there in enumerate(up):
            before = self.running[place]
            after = [np.full(self.total, np.inf) for _ in self.left]
            if there:
                for cost, left in zip([*before, free], [*self.left, self.delay], strict=True):
                    self._run(cost, left, self.prices[place], t, after)
            self.running[place] = after
        self.idle = free

    def _run(self, cost: Costs, left: int, price: float, t: int, after: list[Costs]) -> None:
        """Spend the tick at a place with ``left`` units of changeover to go."""
        gain = self.tick - min(self.tick, left)
        still = max(0, left - self.tick)
        target = after[self.left.index(still)]
        moved = cost[: self.total - gain] + price * self.tick
        np.minimum(target[gain:], moved, out=target[gain:])
        first = max(0, self.total - gain)
        for work in range(first, self.total):
            spent = left + self.total - work
            if cost[work] < math.inf:
                for j, limit in enumerate(self.limits):
                    if t * self.tick + spent <= limit:
                        self.best[j] = min(self.best[j], float(cost[work]) + price * spent)
