"""What is not to be had for now, because a cloud has just refused it or taken it back."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sky_core.facts.managed import everything_of, is_of
from sky_core.store.records import Market, Observation
from sky_core.tracker.beliefs import Offering

NOT_GIVEN: Mapping[str, str] = {"capacity": "capacity", "invalid": "invalid request", "unclear": "no clear answer"}
"""Why a kind of machine was not given, and how that is said. What a cloud will never sell, such as a retired type or
one that the catalog is wrong about, is blocked like what it has not got just now."""
PASSING = ("capacity", "unclear")
REFUSALS = frozenset({*NOT_GIVEN, "quota", "auth", "unreachable", "preempted"})
MOST_DOUBLINGS = 3
"""A scope that refuses again and again is left alone for twice, four, at most eight times as long."""
WAITED_FOR = ("capacity", "preempted")
"""What is no more than a want of machines: who waits longer in their cloud's queue may yet be given them."""
ENOUGH = 3
"""So many kinds of machine refused in a zone, or such zones in a region, and the rest there is taken to be sold out."""
NO_ACCELERATOR = ""
NO_RESERVATION = ""


@dataclass(frozen=True)
class Blocked:
    """A scope not worth trying before ``until`` (seconds since the epoch). Fields that are None match everything.

    Attributes:
        accelerator: ``NO_ACCELERATOR`` matches machines without.
        reservation: ``NO_RESERVATION`` matches what is sold to all.
        num_nodes: It holds for launches of so many machines or more: a reservation with too few for three may have one.
        passing: Whether it may be over at any moment, as when another job gives back what it had.
        guessed: Whether it was concluded from its neighbours: worth trying where there is nothing else.
        waited: Hours for which machines were waited for in vain: who would wait longer in a cloud's queue is not kept
            out. None keeps all out.
    """

    cloud: str
    region: str | None
    zone: str | None
    instance_type: str | None
    accelerator: str | None
    market: Market | None
    until: float
    reason: str
    passing: bool = False
    guessed: bool = False
    reservation: str | None = None
    num_nodes: int = 1
    waited: float | None = None

    def covers(self, offering: Observation | Offering) -> bool:
        """Whether an offering falls into the scope."""
        if offering.num_nodes < self.num_nodes:
            return False
        pairs = zip(_place(self), _place(offering), strict=True)
        return all(mine is None or mine == (its or "") or is_of(mine, its or "") for mine, its in pairs)


def blocked(observations: Iterable[Observation], now: float, ttl_s: float) -> list[Blocked]:
    """The scopes blocked at ``now``, each for ``ttl_s`` seconds after its last refusal, longer if it keeps refusing.

    A refusal or preemption blocks this kind of machine in this market in its scope; with scope "family" all that have
    its accelerator, and with scope "type" it alone, in both markets. What the market lacks says nothing of what is
    reserved, nor does a reservation, with scope "reservation", of the market; where it has too few for so many
    machines, fewer may fit. Missing rights to a service's clusters block all of its release, other missing rights
    block all kinds in both markets, unless their scope is a market or a type; machines that cannot be reached block
    all that is there. A later launch within the scope lifts the block, but not that of a place out of reach: machines
    were to be had there all the time. Nor does a launch by somebody else lift what a login was refused.
    """
    refused: dict[Blocked, list[Observation]] = defaultdict(list)
    for seen in sorted(observations, key=lambda item: item.at):
        if seen.at > now:
            continue
        if seen.kind == "launched":
            for scope, refusals in list(refused.items()):
                if scope.covers(seen) and _shows_otherwise(seen, refusals[-1]):
                    del refused[scope]
        elif seen.kind in REFUSALS:
            refused[_scope(seen)].append(seen)
    found = []
    for scope, refusals in refused.items():
        patience_s = ttl_s * _patience(refusals, ttl_s)
        until = refusals[-1].at + patience_s
        if until > now:
            kind = refusals[-1].kind
            place = scope.reservation or scope.zone or scope.region or scope.cloud
            many = f"for {scope.num_nodes} machines " if scope.num_nodes > 1 else ""
            reason = f"{NOT_GIVEN.get(kind, kind)} {many}in {place}"
            waited = _waited([seen for seen in refusals if seen.at + patience_s > now])
            found.append(replace(scope, until=until, reason=reason, passing=kind in PASSING, waited=waited))
    return found


def sold_out(observations: Iterable[Observation], now: float, ttl_s: float) -> list[Blocked]:
    """Zones and regions that lately refused ``ENOUGH`` in a market, and have not given anything since.

    A cloud that is full is seldom full of one kind of machine. Machines with the same accelerator are judged together,
    and those without. Without this, all spot sizes of a region would be asked for, one by one, before on-demand is.
    """
    kinds: dict[tuple[str, str, str, str, Market], dict[str, Observation]] = defaultdict(dict)
    for seen in sorted(observations, key=lambda item: item.at):
        if not now - ttl_s < seen.at <= now or seen.zone is None or seen.scope != "zone" or seen.reservation:
            continue
        about = (seen.cloud, seen.region, seen.zone, seen.accelerator or NO_ACCELERATOR, seen.market)
        if seen.kind == "launched":
            kinds.pop(about, None)
        elif seen.kind in NOT_GIVEN:
            kinds[about][seen.instance_type] = seen
    found, zones = list[Blocked](), defaultdict[tuple[str, str, str, Market], list[Blocked]](list)
    for (cloud, region, zone, accelerator, market), refused in kinds.items():
        if len(refused) >= ENOUGH:
            until = max(seen.at for seen in refused.values()) + ttl_s
            reason = f"{len(refused)} kinds of machine refused in {zone}"
            here = Blocked(cloud, region, zone, None, accelerator, market, until, reason, guessed=True)
            waited = min(_queued_hours(seen) for seen in refused.values())
            found.append(replace(here, reservation=NO_RESERVATION, waited=waited))
            zones[cloud, region, accelerator, market].append(found[-1])
    for (cloud, region, accelerator, market), full in zones.items():
        if len(full) >= ENOUGH:
            until, reason = max(zone.until for zone in full), f"{len(full)} zones of {region} are sold out"
            there = Blocked(cloud, region, None, None, accelerator, market, until, reason, guessed=True)
            waited = min(zone.waited or 0.0 for zone in full)
            found.append(replace(there, reservation=NO_RESERVATION, waited=waited))
    return found


def _scope(seen: Observation) -> Blocked:
    if seen.kind == "unreachable":
        return Blocked(seen.cloud, seen.region, seen.zone, None, None, None, 0.0, "")
    region = seen.region if seen.scope in ("zone", "region", "family") else None
    zone = seen.zone if seen.scope == "zone" else None
    if seen.kind == "auth":
        instance_type = everything_of(seen.instance_type) if seen.scope == "type" else None
        market = seen.market if seen.scope == "market" else None
        return Blocked(seen.cloud, region, zone, instance_type, None, market, 0.0, "")
    if seen.scope == "reservation":
        here = Blocked(seen.cloud, seen.region, seen.zone, seen.instance_type, seen.accelerator, seen.market, 0.0, "")
        return replace(here, reservation=seen.reservation, num_nodes=seen.num_nodes if seen.kind == "capacity" else 1)
    market = None if seen.scope == "type" else seen.market
    # Of machines without accelerators a smaller one may fit what is left of a quota, even of none at all.
    instance_type = None if seen.scope == "family" and seen.accelerator else seen.instance_type
    there = Blocked(seen.cloud, region, zone, instance_type, seen.accelerator, market, 0.0, "")
    return there if seen.scope == "type" else replace(there, reservation=seen.reservation or NO_RESERVATION)


def _waited(refusals: Sequence[Observation]) -> float | None:
    """The longest of the waits, hours, that have come to nothing; None if not only machines were wanting."""
    if any(seen.kind not in WAITED_FOR for seen in refusals):
        return None
    return max(_queued_hours(seen) for seen in refusals)


def _queued_hours(seen: Observation) -> float:
    return seen.hours or 0.0 if seen.kind == "capacity" else 0.0


def _shows_otherwise(launched: Observation, refusal: Observation) -> bool:
    """Whether a launch in its scope shows that a refusal does not hold any more."""
    if refusal.kind == "auth" and refusal.login is not None:
        return launched.login == refusal.login
    return refusal.kind != "unreachable"


def _place(it: Blocked | Observation | Offering) -> tuple[str | None, ...]:
    return it.cloud, it.region, it.zone, it.instance_type, it.accelerator, it.market, it.reservation


def _patience(refusals: Sequence[Observation], ttl_s: float) -> int:
    """Doubles with each refusal that came soon after the block before it had run out."""
    doublings = 0
    for before, after in itertools.pairwise(refusals):
        soon = after.at - before.at <= 2 * ttl_s * 2**doublings
        doublings = min(doublings + 1, MOST_DOUBLINGS) if soon else 0
    return int(2**doublings)
