"""How a job was led by a spot policy: where it was when, what its policy expected, what else it could have cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sky_core.events import Moved, Restored, Weighed
from sky_core.job.bill import cluster_usd, lifetime
from sky_core.job.memory import Promise
from sky_core.measures.scale import Scale
from sky_core.store import Cluster, Event


@dataclass(frozen=True)
class Leg:
    """A machine, or gang of machines, of the job.

    Attributes:
        begin, end: Hours since the promise, as long as it existed; what is billed may be more (a minute at least).
        zone: ``"cloud/zone"``.
        market: ``"spot"`` or ``"on-demand"``.
        usd: What it has cost.
        outcome: Why it ended; empty while it runs.
    """

    begin: float
    end: float
    zone: str
    market: str
    usd: float
    outcome: str


class Thought(NamedTuple):
    """A change of mind, and when: hours since the promise."""

    at: float
    weighed: Weighed


@dataclass(frozen=True)
class Story:
    """A job from its promise on.

    Attributes:
        hours: From the promise to the deadline; None without one.
        legs: In order of their beginnings.
        refused: (hours, zone) of launches that found nothing.
        thoughts: In order of time.
        egress_usd: For inputs and checkpoints that moved.
        beside: What the same work would have cost otherwise, USD.
    """

    hours: float | None
    legs: tuple[Leg, ...]
    refused: tuple[tuple[float, str], ...]
    thoughts: tuple[Thought, ...]
    egress_usd: float
    beside: Mapping[str, float]

    @property
    def usd(self) -> float:
        """What it has cost."""
        return self.egress_usd + sum(leg.usd for leg in self.legs)

    @property
    def zones(self) -> list[str]:
        """Every zone that it was in or asked, in that order."""
        return list(dict.fromkeys([leg.zone for leg in self.legs] + [zone for _, zone in self.refused]))


def tell(promise: Promise, events: Iterable[Event], clusters: Iterable[Cluster], scale: Scale, now: float) -> Story:
    """A job's story from what the store has of it; ``now`` in seconds since the epoch."""

    def since(moment: float) -> float:
        return scale.hours(max(0.0, moment - promise.since))

    legs, refused = [], []
    for cluster in clusters:
        if cluster.launched_at is None:
            refused += [(since(cluster.intended_at), cluster.place)] if cluster.state == "refused" else []
            continue
        begin, hours = since(cluster.launched_at), lifetime(cluster, scale, now)
        usd = cluster_usd(cluster, scale, now)
        legs.append(Leg(begin, begin + hours, cluster.place, cluster.market, usd, cluster.outcome))
    told = [(event.at, event.what) for event in events]
    thoughts = tuple(Thought(since(at), what) for at, what in told if isinstance(what, Weighed))
    egress = sum(what.usd for _, what in told if isinstance(what, Moved | Restored))
    legs.sort(key=lambda leg: leg.begin)
    beside = _otherwise(promise.work + (promise.changeover or 0.0), legs, thoughts)
    promised = scale.hours(promise.due - promise.since) if promise.firm else None
    return Story(promised, tuple(legs), tuple(refused), thoughts, egress, beside)


def _otherwise(hours: float, legs: Iterable[Leg], thoughts: Iterable[Thought]) -> dict[str, float]:
    """On-demand throughout, and the least that hindsight could ask for: the cheapest spot that it got, never taken."""
    prices = {machine: usd for thought in thoughts for machine, usd in thought.weighed.price.items()}
    certain = [usd for machine, usd in prices.items() if machine.startswith("on-demand ")]
    got = {f"spot {leg.zone}" for leg in legs if leg.market == "spot"}
    spot = [usd for machine, usd in prices.items() if machine in got]
    return {
        **({"on-demand throughout": hours * min(certain)} if certain else {}),
        **({"its cheapest spot, had it never been taken": hours * min(spot)} if spot else {}),
    }
