"""Reservations of Compute Engine: which machines get into one, and what the API tells of them.

https://cloud.google.com/compute/docs/instances/reservations-consume
"""

from __future__ import annotations

import json

from starlette.routing import Route

from sky_sandbox.gcp import types
from sky_sandbox.gcp.request import about
from sky_sandbox.gcp.wire import API, Call, Resource, endpoint, invalid, not_found, page, timestamp
from sky_sandbox.machines.record import Machine
from sky_sandbox.reservations import Reservation
from sky_sandbox.world import World

KEY = "compute.googleapis.com/reservation-name"
FULL = "Specified reservation '{}' does not have available resources for the request."
OTHER = "No available resources in specified reservations"


def enter(world: World, machine: Machine) -> tuple[str, str]:
    """The reservation that a new machine gets into, "" for none, and why it does not get into the one that it names.

    Raises:
        ApiError: where Compute Engine refuses the call at once.
    """
    affinity = machine.extra["resource"].get("reservationAffinity", {})
    kind = affinity.get("consumeReservationType", "ANY_RESERVATION")
    if kind != "SPECIFIC_RESERVATION":
        bought = kind == "ANY_RESERVATION" and machine.market == "on-demand"
        return (world.reservations.fitting("gcp", machine.zone, machine.type) if bought else "", "")
    where, project = "resource.reservationAffinity", machine.extra["project"]
    [name] = affinity.get("values") or [""]
    if affinity.get("key") != KEY or machine.market == "spot":
        why = "Spot VMs cannot consume reservations." if machine.market == "spot" else f"The key must be {KEY}."
        raise invalid(where, json.dumps(affinity), why)
    path = name if "/" in name else f"projects/{project}/reservations/{name}"
    one = world.reservations.find(path.rpartition("/")[2])
    if one is None or one.over or one.zone != machine.zone or path.split("/")[1] != project:
        raise invalid(where, json.dumps(affinity), f"Specified reservations [{path}] do not exist.")
    if one.kind == "open":
        why = f"Specified reservations [{path}] can not be targeted as specificReservationRequired is not set"
        raise invalid(where, json.dumps(affinity), why)
    if one.type != machine.type:
        return "", OTHER
    return (one.id, "") if world.reservations.takes(one, machine.zone, machine.type) else ("", FULL.format(one.id))


class Reservations:
    """What the API tells of them; each project has the same."""

    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        project = "/compute/v1/projects/{project}"
        there = project + "/zones/{zone}/reservations"
        table = (
            (there, "reservations.list", self.list_all),
            (there + "/{name}", "reservations.get", self.get),
            (project + "/aggregated/reservations", "reservations.aggregatedList", self.aggregated_list),
        )
        return [Route(path, endpoint(self.world, action, of, about), methods=["GET"]) for path, action, of in table]

    def list_all(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/reservations/list"""
        return page("compute#reservationList", self._views(call, call.path["zone"]), call)

    def get(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/reservations/get"""
        for view in self._views(call, call.path["zone"]):
            if view["name"] == call.path["name"]:
                return view
        raise not_found("projects/{project}/zones/{zone}/reservations/{name}".format_map(call.path))

    def aggregated_list(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/reservations/aggregatedList"""
        items: Resource = {}
        for zone in types.ZONES:
            message = f"There are no results for scope 'zones/{zone}' on this page."
            found = self._views(call, zone)
            none = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": message}}
            items[f"zones/{zone}"] = {"reservations": found} if found else none
        return {"kind": "compute#reservationAggregatedList", "items": items}

    def _views(self, call: Call, zone: str) -> list[Resource]:
        there = [one for one in self.world.reservations.known.values() if (one.cloud, one.zone) == ("gcp", zone)]
        return [self._view(call.path["project"], one) for one in there if not one.over]

    def _view(self, project: str, one: Reservation) -> Resource:
        root = f"{API}/projects/{project}/zones/{one.zone}"
        used = one.count - self.world.reservations.free(one)
        view = {
            "kind": "compute#reservation",
            "id": str(int(one.created_at * 1e6)),
            "creationTimestamp": timestamp(one.created_at),
            "name": one.id,
            "zone": root,
            "selfLink": f"{root}/reservations/{one.id}",
            "specificReservation": {
                "instanceProperties": {"machineType": one.type},
                "count": str(one.count),
                "inUseCount": str(used),
            },
            "specificReservationRequired": one.kind != "open",
            "status": "READY",
        }
        return view if one.ends_at is None else {**view, "deleteAtTime": timestamp(one.ends_at)}
