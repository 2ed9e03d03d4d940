"""Elastic and fixed gangs on a recorded number of spot machines: what work costs, in money and in time.

At a tick whoever has more machines than are there loses the others. Any change of the fleet costs a start, in which all
its machines stand still and are paid. Every policy works from its last checkpoint: no work is lost, only time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sky_core.recovery.elastic import Job, Offer, best_fleet

Fleet = Mapping[str, int]
SPOT, ON_DEMAND = "spot", "on-demand"


@dataclass
class Seen:
    """Spot so far: losses in hours on it, and returns in hours without any; one in so many before any was seen."""

    losses: float = 1.0
    hours_up: float = 4.0
    returns: float = 1.0
    hours_down: float = 2.0


Choose = Callable[[int, Fleet, Seen, Job], Fleet]
"""Spot machines there, the present fleet, what was seen, and the job that is left: to the fleet wished for."""


@dataclass(frozen=True)
class Ran:
    """How a job went: USD, hours to its end, how often the fleet was changed."""

    usd: float
    hours: float
    starts: int

    def worth(self, hour_usd: float) -> float:
        """USD with the hours priced."""
        return self.usd + hour_usd * self.hours


def run(choose: Choose, there: Sequence[int], step: float, job: Job, prices: Mapping[str, float]) -> Ran:
    """A job on a trace of machine counts, one every ``step`` hours.

    Raises:
        ValueError: if the trace ends before the job.
    """
    left, usd, starts, standing, fleet = job.work, 0.0, 0, 0.0, dict[str, int]()
    seen, before = Seen(), there[0]
    for tick, count in enumerate(there):
        had = dict(fleet)
        if fleet.get(SPOT, 0) > count:
            fleet, seen.losses = {**fleet, SPOT: count}, seen.losses + 1
        seen.returns += count > 0 and before == 0
        before = count
        wishes = choose(count, fleet, seen, replace(job, work=left))
        wish = {name: number for name, number in wishes.items() if number}
        if wish != had and wish:
            starts, standing = starts + 1, job.start
        fleet = wish
        pace, hourly = job.curve(sum(fleet.values())), sum(prices[name] * number for name, number in fleet.items())
        works = max(0.0, step - standing)
        if pace > 0 and pace * works >= left:
            spent = standing + left / pace
            return Ran(usd + hourly * spent, tick * step + spent, starts)
        left, usd = left - pace * works, usd + hourly * step
        standing = max(0.0, standing - step)
        seen.hours_up += step if fleet.get(SPOT) else 0.0
        seen.hours_down += 0.0 if count else step
    raise ValueError(f"the trace ends with {left:.1f} of {job.work:.1f} h of work left")


def elastic(prices: Mapping[str, float], most: int) -> Choose:
    """The fleet of least expected cost for each unit of work; none while it is best to wait for spot."""

    def choose(there: int, fleet: Fleet, seen: Seen, job: Job) -> Fleet:
        away = 0.0 if there else seen.hours_down / seen.returns
        spot = Offer(SPOT, prices[SPOT], min(there, most) or most, seen.losses / seen.hours_up, away)
        best = best_fleet([spot, Offer(ON_DEMAND, prices[ON_DEMAND], most)], job, fleet)
        return {} if SPOT in best and not there else best

    return choose


def fixed(count: int) -> Choose:
    """All its machines on spot, or none: wait until as many are there, and begin at the last checkpoint."""
    return lambda there, fleet, seen, job: {SPOT: count} if there >= count else {}


def fixed_with_on_demand(count: int) -> Choose:
    """The same, on-demand while spot is not there for all."""
    return lambda there, fleet, seen, job: {SPOT if there >= count else ON_DEMAND: count}
