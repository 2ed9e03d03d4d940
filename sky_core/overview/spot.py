"""The spot market as all runs of a store have seen it: by zone, when machines were to be had and when not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sky_core.store import Cluster, Observation
from sky_core.tracker import Tracker
from sky_core.tracker.availability import SHOWS_UP
from sky_core.tracker.beliefs import Offering

LAUNCHED, REFUSED, PREEMPTED = "launched", ("capacity", "quota"), "preempted"


@dataclass(frozen=True)
class Stretch:
    """A time, in seconds since the epoch, throughout which machines could be had, or could not."""

    begin: float
    end: float
    up: bool


@dataclass(frozen=True)
class ZoneMarket:
    """One kind of machine on one zone's spot market.

    Attributes:
        place: ``cloud/zone``, or its region.
        stretches: From sign to sign; the last one goes on to now.
        prices: (seconds since the epoch, USD per hour) of launches, in order of time.
        chance: Probability that a launch tried now succeeds.
        lifetime_h: Hours that a machine is expected to live.
    """

    cloud: str
    place: str
    machine: str
    launched: int
    refused: int
    preempted: int
    stretches: tuple[Stretch, ...]
    prices: tuple[tuple[float, float], ...]
    chance: float
    lifetime_h: float


def spot_market(observations: Iterable[Observation], clusters: Iterable[Cluster], now: float) -> list[ZoneMarket]:
    """What was seen of each kind of machine in each zone, those seen most often first."""
    seen: dict[tuple[str, str, str | None, str, str | None], list[Observation]] = {}
    for one in observations:
        if one.market == "spot":
            seen.setdefault((one.cloud, one.region, one.zone, one.instance_type, one.accelerator), []).append(one)
    paid: dict[tuple[str, str, str | None, str, str | None], list[tuple[float, float]]] = {}
    for it in clusters:
        if it.use_spot:
            where = (it.cloud, it.region, it.zone, it.instance_type, it.accelerator)
            paid.setdefault(where, []).append((it.intended_at, it.price))
    markets = [_market(where, signs, paid.get(where, []), now) for where, signs in seen.items()]
    return sorted(markets, key=lambda one: (-(one.launched + one.refused + one.preempted), one.place, one.machine))


def _market(
    where: tuple[str, str, str | None, str, str | None],
    seen: list[Observation],
    paid: list[tuple[float, float]],
    now: float,
) -> ZoneMarket:
    cloud, region, zone, instance_type, accelerator = where
    offering = Offering(cloud, region, zone, instance_type, "spot", accelerator)
    tracker = Tracker(seen, now)
    rate = tracker.preemptions_per_hour(offering)
    return ZoneMarket(
        cloud=cloud,
        place=f"{cloud}/{zone or region}",
        machine=f"{instance_type} ({accelerator})" if accelerator else instance_type,
        launched=sum(one.kind == LAUNCHED for one in seen),
        refused=sum(one.kind in REFUSED for one in seen),
        preempted=sum(one.kind == PREEMPTED for one in seen),
        stretches=tuple(_stretches(seen, now)),
        prices=tuple(sorted(paid)),
        chance=tracker.chance(offering),
        lifetime_h=1 / rate if rate > 0 else float("inf"),
    )


def _stretches(seen: Iterable[Observation], now: float) -> list[Stretch]:
    """Signs that say the same as the one before make its stretch longer."""
    found: list[Stretch] = []
    for at, up in ((one.at, SHOWS_UP[one.kind]) for one in seen if one.kind in SHOWS_UP):
        if found and found[-1].up == up:
            continue
        if found:
            found[-1] = Stretch(found[-1].begin, at, found[-1].up)
        found.append(Stretch(at, now, up))
    return found
