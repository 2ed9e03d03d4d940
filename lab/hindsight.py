"""The cheapest way to run a job over zones that differ in prices and in what moving between them takes, known
beforehand.

Exact by dynamic programming as :mod:`lab.omniscient`, to a unit of time that divides the tick: the changeover, the
moves and the work are rounded to it.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from lab.simulate import SpotJob
from lab.traces import Traces

Costs = NDArray[np.float64]
NOWHERE = ""  # where the checkpoint is before the first start
_Phase = tuple[int, str]


def hindsight_cost(traces: Traces, job: SpotJob, start: int = 0, unit_s: int = 120) -> float:
    """The least cost in USD of a job from tick ``start`` on; inf where it cannot end in time.

    Raises:
        ValueError: if the traces end before the deadline does, or ``unit_s`` does not divide the tick.
    """
    ticks = math.ceil(job.deadline / traces.step - 1e-9)
    if start + ticks > traces.ticks:
        raise ValueError(f"the traces have {traces.ticks - start} ticks from {start} on, {ticks} are needed")
    search = _Search(traces, job, unit_s)
    for tick in range(ticks):
        search.advance(tick, start + tick)
    return search.best * job.nodes


class _Search:
    """All costs of being somewhere at the start of a tick, by work done. Times are in units."""

    def __init__(self, traces: Traces, job: SpotJob, unit_s: int) -> None:
        self.tick = round(traces.step * 3600) // unit_s
        if self.tick * unit_s != round(traces.step * 3600):
            raise ValueError(f"unit_s: {unit_s} s do not divide a tick of {traces.step * 3600:g} s")
        self.traces, self.job, self.hours = traces, job, unit_s / 3600
        self.total = round(job.work / self.hours)
        self.limit = job.deadline / self.hours + 1e-6
        self.best = math.inf
        self.homes: dict[str, Costs] = {NOWHERE: self._nothing()}
        self.homes[NOWHERE][0] = 0.0
        # (spot, zone) to what is left of a start, and where the checkpoint is until then, to costs
        self.running: dict[tuple[bool, str], dict[_Phase, Costs]] = {
            (spot, zone): {} for spot in (True, False) for zone in traces.up
        }

    def advance(self, tick: int, at: int) -> None:
        """One tick: whoever is somewhere stays, ends, or gives up and starts elsewhere."""
        free = dict(self.homes)
        for phases in self.running.values():
            for (_, home), cost in phases.items():
                free[home] = np.minimum(free.get(home, cost), cost)
        prices = self.job.spot_prices(at)
        for (spot, zone), before in self.running.items():
            after: dict[_Phase, Costs] = {}
            if not spot or self.traces.up[zone][at]:
                price = (prices if spot else self.job.on_demand_price)[zone] * self.hours
                for (left, home), cost in self._begun(zone, before, free):
                    self._run(zone, (left, home), cost, price, tick, after)
            self.running[spot, zone] = after
        self.homes = free

    def _begun(self, zone: str, before: dict[_Phase, Costs], free: dict[str, Costs]) -> list[tuple[_Phase, Costs]]:
        begun: dict[_Phase, Costs] = defaultdict(self._nothing)
        for home, cost in free.items():
            move = self.job.move(home or None, zone)
            left = round((self.job.changeover + move.hours) / self.hours)
            phase = left, zone if self.job.moved == "begun" else home
            begun[phase] = np.minimum(begun[phase], cost + move.usd / self.job.nodes)
        return [*before.items(), *begun.items()]

    def _run(self, zone: str, phase: _Phase, cost: Costs, price: float, tick: int, after: dict[_Phase, Costs]) -> None:
        left, home = phase
        gain = max(0, self.tick - left)
        then = (left - self.tick, home) if left > self.tick else (0, zone)
        moved = self._nothing()
        moved[gain:] = cost[: self.total - gain] + price * self.tick
        after[then] = np.minimum(after[then], moved) if then in after else moved
        work = np.arange(max(0, self.total - gain), self.total)
        if len(work):
            spent = left + self.total - work
            ends = np.where(tick * self.tick + spent <= self.limit, cost[work] + price * spent, np.inf)
            self.best = min(self.best, float(ends.min()))

    def _nothing(self) -> Costs:
        return np.full(self.total, np.inf)
