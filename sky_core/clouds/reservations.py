"""Capacity that an account has reserved: what it holds, whether the user's entries fit, and whom a refusal is about."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sky_core.clouds.base import LaunchRequest
from sky_core.errors import CapacityError, InvalidRequest, QuotaError
from sky_core.inventory import Machines

LOOK = "skyloom catalog reservations lists what the account holds; correct the entry in catalog.toml, or take it out"


@dataclass(frozen=True)
class Held:
    """Machines of one type in one place that an account has reserved.

    Attributes:
        name: What a launch names, as in an entry of catalog.toml. Several of one name may hold other types or zones.
        zone: None where it is of the whole region.
        total, free: Machines that it holds, and those that nobody runs on now.
        begins: When machines are there, seconds since the epoch; None where they are by now.
        ends: When machines are there no more, seconds since the epoch; None where it does not end.
        by_name: Whether a launch can name it: one that takes all machines which fit may not be named on Google Cloud.
        kind: What the cloud calls it.
    """

    name: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    total: int
    free: int
    begins: float | None = None
    ends: float | None = None
    by_name: bool = True
    kind: str = ""

    @property
    def place(self) -> str:
        """``cloud/zone``, or its region."""
        return f"{self.cloud}/{self.zone or self.region}"


@dataclass(frozen=True)
class Holdings:
    """What a look at an account saw, and why a place could not be looked at, by its name."""

    held: tuple[Held, ...]
    unreachable: Mapping[str, str] = field(default_factory=dict)


def amiss(entry: Machines, holdings: Holdings) -> str:
    """What an entry of catalog.toml says of its reservation and the account does not; empty if they agree."""
    if entry.until is not None and entry.until.timestamp() <= time.time():
        return f"it has ended at {stamp(entry.until.timestamp())}; take the entry out"
    wanted = entry.reservation or ""
    named = [one for one in holdings.held if _is_called(one.name, wanted)]
    if not named:
        asked = {entry.region, wanted.partition("/reservations/")[0]}
        blind = next((why for place, why in holdings.unreachable.items() if place in asked), None)
        return f"cannot be told: {blind}" if blind else "there is no such reservation"
    alike = [one for one in named if (one.region, one.instance_type) == (entry.region, entry.instance_type)]
    fitting = [one for one in alike if one.zone == entry.zone]
    if not fitting and any(one.zone is None for one in alike):
        return "it is of the region; leave zone out"
    if not fitting:
        there = ", ".join(f"{one.instance_type} in {one.zone or one.region}" for one in named)
        return f"it holds {there}, not {entry.instance_type} in {entry.zone or entry.region}"
    [held, *_] = sorted(fitting, key=lambda one: -one.total)
    if not held.by_name:
        return "a launch cannot name it: it takes all machines that fit; leave reservation out"
    if (entry.count or 0) > held.total:
        return f"it holds {held.total} machines, not {entry.count}"
    if held.begins is not None and (entry.since is None or entry.since.timestamp() < int(held.begins)):
        return f"its machines are there from {stamp(held.begins)} on; write since = {stamp(held.begins)}"
    if held.ends is not None and (entry.until is None or entry.until.timestamp() > held.ends):
        return f"its machines are there until {stamp(held.ends)}; write until = {stamp(held.ends)}"
    return ""


def stamp(at: float) -> str:
    """A point in time as TOML writes it, in UTC, cut to the second."""
    return f"{datetime.fromtimestamp(int(at), UTC):%Y-%m-%dT%H:%M:%SZ}"


def _is_called(name: str, wanted: str) -> bool:
    return wanted.lower() == name.lower() or wanted.lower().endswith(f"/{name.lower()}")


@contextmanager
def aimed(request: LaunchRequest) -> Iterator[None]:
    """Let a refusal of a launch into a reservation be about that one: what is sold to all is another matter.

    What will never run anywhere, and what the request names besides, keeps the scope it has.
    """
    try:
        yield
    except (CapacityError, QuotaError, InvalidRequest) as refusal:
        if request.reservation is not None and not refusal.own and refusal.scope != "type":
            refusal.scope = "reservation"
            refusal.cure = refusal.cure or LOOK
        raise
