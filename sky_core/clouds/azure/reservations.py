"""Capacity reservation groups of Azure: whether a launch still gets into one, and what they hold.

https://learn.microsoft.com/azure/virtual-machines/capacity-reservation-overview
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from sky_core.clouds.azure import bodies
from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.reservations import LOOK, Held
from sky_core.errors import AuthError, CapacityError, InvalidRequest

log = logging.getLogger(__name__)

ID = re.compile(
    r"^/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)/providers/Microsoft\.Compute"
    r"/capacityReservationGroups/(?P<name>[^/]+)$",
    re.IGNORECASE,
)


class Reservations:
    """The groups of a subscription."""

    def __init__(self, compute: Any, subscription: str) -> None:
        self._groups, self._members = compute.capacity_reservation_groups, compute.capacity_reservations
        self._subscription = subscription

    def refuse_full(self, request: LaunchRequest) -> None:
        """Refuse a launch beyond what is reserved, which Azure takes and sells like any other.

        Nothing is known of a group that another subscription shares, or that may not be looked at.

        Raises:
            CapacityError: if too few machines are free, not counting those of an earlier call with the same token.
            InvalidRequest: if there is no such group, or it holds nothing of that size in that zone.
        """
        match = ID.match(request.reservation or "")
        if match is None or match["subscription"].lower() != self._subscription.lower():
            return
        try:
            with cloud_errors():
                free = self._free(request, match["group"], match["name"])
        except AuthError as error:
            log.warning("how full %s is cannot be told: %s", match["name"], error)
            return
        if free is None:
            size, place = request.instance_type, request.zone or request.region
            text = f"Azure: {match['name']} reserves no {size} in {place}"
            raise InvalidRequest(text, scope="reservation", code="NotReserved", cure=LOOK)
        if free < request.num_nodes:
            text = f"Azure: {match['name']} has {free} machines left; more would be sold beside it"
            raise CapacityError(text, scope="reservation", code="Overallocated")

    def _free(self, request: LaunchRequest, group: str, name: str) -> int | None:
        """Machines that are left; None where nothing fits."""
        ours = f"/resourcegroups/{request.token}/"
        try:
            for member in self._of(group, name):
                if (member.sku.name, list(member.zones or ())) == (request.instance_type, bodies.zones(request)):
                    return int(member.sku.capacity or 0) - sum(ours not in id_.lower() for id_ in _allocated(member))
        except ResourceNotFoundError:
            return None
        return None

    def _of(self, group: str, name: str) -> Iterator[Any]:
        """The reservations of a group, with who is in them."""
        for member in self._members.list_by_capacity_reservation_group(group, name):
            yield self._members.get(group, name, member.name, expand="instanceView")

    def held(self) -> Iterator[Held]:
        """What the subscription's groups hold, one for each size and zone."""
        for group in self._groups.list_by_subscription():
            match = ID.match(group.id)
            for member in self._of(match["group"], match["name"]) if match else ():
                total = int(member.sku.capacity or 0)
                yield Held(
                    name=group.id,
                    cloud="azure",
                    region=group.location,
                    zone=f"{group.location}-{member.zones[0]}" if member.zones else None,
                    instance_type=member.sku.name,
                    total=total,
                    free=max(0, total - len(_allocated(member))),
                    kind="capacity reservation",
                )


def _allocated(member: Any) -> list[str]:
    """The ids of the machines that a reservation pays for."""
    use = member.instance_view.utilization_info if member.instance_view else None
    return [str(one.id) for one in (use.virtual_machines_allocated or ())] if use else []
