"""Capacity reservation groups: which VMs a reservation pays for, and what Resource Manager tells of them.

https://learn.microsoft.com/azure/virtual-machines/capacity-reservation-associate-vm and
https://learn.microsoft.com/azure/virtual-machines/capacity-reservation-overallocate. Each group has one reservation.
"""

from __future__ import annotations

import re

from starlette.responses import JSONResponse, Response

from sky_sandbox.azure.resources import Wanted
from sky_sandbox.azure.wire import ArmError, Body, Call, page
from sky_sandbox.reservations import Reservation
from sky_sandbox.world import World

MEMBER = "reservation"
LIST = re.compile(
    r"^/subscriptions/[^/]+(/resourcegroups/[^/]+)?/providers/microsoft.compute/capacityreservationgroups$"
)
PATH = re.compile(
    r"^(?P<group>/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft.compute/capacityreservationgroups/[^/]+)"
    r"(?P<members>/capacityreservations(?P<member>/[^/]+)?)?$"
)


def enter(world: World, body: Body, wanted: Wanted) -> str:
    """The reservation that pays for a new VM, "" for none: one beyond what is reserved is sold like any other.

    Raises:
        ArmError: if the VM names a group that it cannot be in.
    """
    told = body.get("properties", {}).get("capacityReservation", {}).get("capacityReservationGroup", {}).get("id")
    if not told:
        return ""
    one = _find(world, told.lower())
    if wanted.market == "spot":
        raise ArmError("InvalidParameter", "Capacity reservations are not supported for Spot virtual machines.")
    if (one.type, one.zone) != (wanted.size.name, wanted.zone):
        why = f"{told} has no capacity reservation for {wanted.size.name} in {wanted.zone}."
        raise ArmError("InvalidParameter", f"The capacity reservation group {why}")
    return one.id if world.reservations.takes(one, wanted.zone, wanted.size.name) else ""


def answer(world: World, call: Call) -> Response | None:
    """The reply to a call about groups, None to any other.

    Raises:
        ArmError: if there is no such group or reservation.
    """
    if call.method != "GET":
        return None
    if LIST.match(call.key):
        scope = call.key.removesuffix("/providers/microsoft.compute/capacityreservationgroups")
        there = [one for one in world.reservations.known.values() if one.cloud == "azure" and not one.over]
        return page(_group(one) for one in there if one.id.lower().startswith(f"{scope}/"))
    match = PATH.match(call.key)
    if match is None:
        return None
    one = _find(world, match["group"])
    if match["members"] is None:
        return JSONResponse(_group(one))
    looks = call.query.get("$expand", "").lower() == "instanceview"
    if match["member"] is None:
        return page([_member(world, one, looks=False)])
    if match["member"] != f"/{MEMBER}":
        raise ArmError("ResourceNotFound", f"The Resource '{call.path}' was not found.")
    return JSONResponse(_member(world, one, looks=looks))


def _find(world: World, key: str) -> Reservation:
    for one in world.reservations.known.values():
        if one.id.lower() == key and not one.over:
            return one
    raise ArmError("ResourceNotFound", f"The Resource '{key}' was not found.")


def _zones(one: Reservation) -> Body:
    return {} if one.zone == one.region else {"zones": [one.zone.rpartition("-")[2]]}


def _group(one: Reservation) -> Body:
    kind = "Microsoft.Compute/capacityReservationGroups"
    members = [{"id": f"{one.id}/capacityReservations/{MEMBER}"}]
    about = {"id": one.id, "name": one.id.rpartition("/")[2], "type": kind, "location": one.region}
    return {**about, **_zones(one), "properties": {"capacityReservations": members}}


def _member(world: World, one: Reservation, *, looks: bool) -> Body:
    inside = [{"id": machine.id} for machine in world.reservations.machines(one)]
    properties: Body = {"provisioningState": "Succeeded", "virtualMachinesAssociated": inside}
    if looks:
        use = {"currentCapacity": one.count, "virtualMachinesAllocated": inside}
        properties["instanceView"] = {"utilizationInfo": use, "statuses": []}
    return {
        "id": f"{one.id}/capacityReservations/{MEMBER}",
        "name": MEMBER,
        "type": "Microsoft.Compute/capacityReservationGroups/capacityReservations",
        "location": one.region,
        "sku": {"name": one.type, "capacity": one.count},
        **_zones(one),
        "properties": properties,
    }
