"""How many machines, where: the set of allocations with the least expected cost for each unit of work.

After Proteus' BidBrain (Harlap et al., EuroSys'17, section 4): what an allocation is worth hangs on the others, as work
grows with the number of machines by a scalability curve, and as losing any of them interrupts all. Clouds bill by the
second by now, so what BidBrain gains from the hour that is given back has no counterpart here.

The model: an allocation is lost as a whole, at a constant rate. A fleet works until it first loses one; then it is
decided anew. Until then it makes curve(N) units of work an hour, but for the start that it costs to become this fleet,
and for the one that the loss costs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

Curve = Callable[[int], float]
"""Machines to units of work an hour; one machine makes one, and none makes none (but see :func:`beside`)."""
Fleet = Mapping[str, int]
"""Machines by offer, none of them 0."""


@dataclass(frozen=True)
class Offer:
    """Machines of one zone in one market.

    Attributes:
        price: USD per hour and machine.
        most: Machines that are to be had.
        rate: Losses per hour: of all its machines together; 0 for on-demand.
        away: Hours until it is to be had, as far as can be expected; 0 if it is there.
    """

    name: str
    price: float
    most: int
    rate: float = 0.0
    away: float = 0.0


@dataclass(frozen=True)
class Job:
    """What is left of an elastic job.

    Attributes:
        work: Units, hours on one machine.
        start: Hours that it costs to become another fleet, all machines standing still.
        curve: What so many machines make of an hour.
        hour_usd: What an hour sooner is worth, USD; 0 where only money counts.
        most: Machines that it can use at most.
    """

    work: float
    start: float
    curve: Curve
    hour_usd: float = 0.0
    most: int = 64


def amdahl(serial: float) -> Curve:
    """The curve of a job of which so much, 0 to 1, cannot be shared out: N / (1 + serial (N - 1))."""
    return lambda count: count / (1 + serial * (count - 1)) if count else 0.0


def beside(job: Job, count: int, hourly: float) -> Job:
    """The job of those that come and go beside ``count`` machines that stay, which cost ``hourly`` together.

    What stays is paid whatever comes, so an hour sooner is worth it; to have nothing else is a fleet, too.
    """

    def curve(others: int) -> float:
        return job.curve(others + count)

    return replace(job, curve=curve, hour_usd=job.hour_usd + hourly, most=job.most - count)


def usd_per_work(fleet: Fleet, offers: Mapping[str, Offer], job: Job, present: Fleet) -> float:
    """USD that a unit of work is expected to cost on a fleet until it loses something or the work is done.

    Infinite where none works.
    """
    pace = job.curve(sum(fleet.values()))
    if pace <= 0:
        return math.inf
    hourly = job.hour_usd + sum(offers[name].price * count for name, count in fleet.items())
    rate = sum(offers[name].rate for name in fleet)
    alone = job.work / pace  # hours, if nothing is lost
    lost = -math.expm1(-rate * alone)
    works = lost / rate if rate > 0 else alone
    starts = (fleet != present) + lost
    waits = max((offers[name].away for name in fleet), default=0.0)
    return (job.hour_usd * waits + hourly * (works + starts * job.start)) / (pace * works)


def best_fleet(offers: Sequence[Offer], job: Job, present: Fleet | None = None) -> dict[str, int]:
    """The fleet of least expected cost for each unit of work, of fewer machines among equals; empty if none is sold.

    If it has an offer that is away, it is best to wait. Exact: for given offers in use and a given number of machines
    rate and wait are the same, so the cheapest machines are best. Time grows as 2 to the number of offers; up to a
    dozen are meant.
    """
    by_name = {offer.name: offer for offer in offers if offer.most > 0}
    now = {name: count for name, count in (present or {}).items() if count}
    kept = [now] if now and all(name in by_name and count <= by_name[name].most for name, count in now.items()) else []
    nothing: dict[str, int] = {}
    none = [nothing] if job.curve(0) > 0 else []
    candidates = itertools.chain(none, kept, _fleets(list(by_name.values()), job.most))
    return min(candidates, key=lambda fleet: _rank(fleet, by_name, job, now), default=nothing)


def _rank(fleet: Fleet, offers: Mapping[str, Offer], job: Job, present: Fleet) -> tuple[float, int]:
    return round(usd_per_work(fleet, offers, job, present), 12), sum(fleet.values())


def _fleets(offers: Sequence[Offer], most: int) -> Iterator[dict[str, int]]:
    """For every set of offers and number of machines the cheapest fleet that uses them all."""
    cheapest = sorted(offers, key=lambda offer: (offer.price, offer.name))
    for size in range(1, len(cheapest) + 1):
        for used in itertools.combinations(cheapest, size):
            for count in range(size, min(most, sum(offer.most for offer in used)) + 1):
                yield _filled(used, count)


def _filled(used: Sequence[Offer], count: int) -> dict[str, int]:
    """One machine of each, the others of the cheapest."""
    spare, fleet = count - len(used), {}
    for offer in used:
        more = min(spare, offer.most - 1)
        fleet[offer.name], spare = 1 + more, spare - more
    return fleet
