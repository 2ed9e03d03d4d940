"""Capacity that the accounts have reserved: kept free whatever the market has, and billed whether it is used or not.

- EC2: a targeted Capacity Reservation takes launches that name it, an open one all that fit as well; when it ends its
  instances go on at the market's price. A Capacity Block is paid in advance, and its end takes its instances with it.
  https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-reservations.html
- Compute Engine: the same two kinds, told by ``specificReservationRequired``.
  https://cloud.google.com/compute/docs/instances/reservations-overview
- Azure: reservations in groups, which launches name; what is beyond them is sold like anything else.
  https://learn.microsoft.com/azure/virtual-machines/capacity-reservation-overview

Reserved machines count against no limit of the world's: their quota was taken when they were reserved.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from sky_sandbox.ledger import Entry, Ledger
from sky_sandbox.machines.record import Cause, Machine

Kind = Literal["targeted", "open", "block"]
SUBSCRIPTION, GROUP = "00000000-0000-4000-8000-000000000000", "reserved"
EVERY_CAUSE: tuple[str, ...] = get_args(Cause)
# Causes of an end that leave a machine without its hardware: on Azure a guest that halts keeps it.
RELEASED: Mapping[str, tuple[str, ...]] = {
    "aws": EVERY_CAUSE,
    "gcp": EVERY_CAUSE,
    "azure": ("deallocated", "preempted"),
}


@dataclass
class Reservation:
    """So many machines of a type in a place.

    Attributes:
        id: As the cloud's API names it in launches: ``cr-…``, a name, the ARM id of a group.
        zone: The region where it is in no zone.
        kind: Whether it takes launches that name it only, or all that fit; "block": its end takes its machines along.
        ends_at: Seconds since the epoch, None where it does not end.
        over: Whether it has ended.
    """

    id: str
    cloud: str
    region: str
    zone: str
    type: str
    count: int
    kind: Kind
    created_at: float
    ends_at: float | None = None
    over: bool = False


class Stage(Protocol):
    """What the world is to its reservations."""

    ledger: Ledger
    lock: threading.RLock

    def clock(self) -> float:
        """Seconds since the epoch."""

    def live(self, cloud: str | None = None) -> list[Machine]:
        """Machines that cost money now."""

    def stop(self, machine_id: str, cause: Cause = "user") -> None:
        """End a machine now."""


class Reservations:
    """All there ever were, by id. Under the world's lock."""

    def __init__(self, world: Stage) -> None:
        self.world = world
        self.known: dict[str, Reservation] = {}

    def make(
        self, cloud: str, region: str, zone: str, type_: str, count: int, kind: Kind, ends_s: float | None = None
    ) -> Reservation:
        """Reserve machines; with ``ends_s`` for so many seconds."""
        now, number = self.world.clock(), uuid.uuid4().hex
        names = {
            "aws": f"cr-{number[:17]}",
            "gcp": f"reserved-{number[:8]}",
            "azure": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute"
            f"/capacityReservationGroups/reserved-{number[:8]}",
        }
        ends_at = None if ends_s is None else now + ends_s
        made = Reservation(names[cloud], cloud, region, zone, type_, count, kind, now, ends_at)
        with self.world.lock:
            self.known[made.id] = made
        if kind != "block":
            self.world.ledger.begin(Entry(cloud, "reservation", made.id, region, {}, now))
        if ends_s is not None:
            timer = threading.Timer(ends_s, self.end, (made.id,))
            timer.daemon = True
            timer.start()
        return made

    def find(self, id_: str) -> Reservation | None:
        """The one of that id, ended or not."""
        return self.known.get(id_)

    def machines(self, one: Reservation) -> list[Machine]:
        """Those that are in it; one that is switched off and keeps no hardware is not."""
        inside = [machine for machine in self.world.live(one.cloud) if machine.reservation == one.id]
        return [machine for machine in inside if machine.state != "off" or machine.cause not in RELEASED[one.cloud]]

    def free(self, one: Reservation) -> int:
        """How many more it takes."""
        return 0 if one.over else max(0, one.count - len(self.machines(one)))

    def takes(self, one: Reservation, zone: str, type_: str, count: int = 1) -> bool:
        """Whether so many machines of a type in a zone fit into it."""
        with self.world.lock:
            return one.type == type_ and one.zone == zone and self.free(one) >= count

    def fitting(self, cloud: str, zone: str, type_: str, count: int = 1) -> str:
        """The open reservation that a launch which names none gets into; "" where there is none."""
        with self.world.lock:
            found = (one for one in self.known.values() if one.kind == "open" and one.cloud == cloud)
            return next((one.id for one in found if self.takes(one, zone, type_, count)), "")

    def end(self, id_: str) -> None:
        """Let one be over. What is in it goes on at the market's price, or ends with a Capacity Block."""
        with self.world.lock:
            one = self.known[id_]
            inside, one.over = self.machines(one), True
            if one.kind != "block":
                for machine in inside:
                    machine.reservation = ""
                    self.world.ledger.note(machine, self.world.clock())
        self.world.ledger.end(one.cloud, "reservation", one.id, self.world.clock())
        for machine in inside if one.kind == "block" else ():
            self.world.stop(machine.id, "expired")

    def forget(self) -> None:
        """End all, and know of none."""
        for id_ in list(self.known):
            self.end(id_)
        self.known.clear()
