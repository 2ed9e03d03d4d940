"""What a project on Google Cloud has reserved. https://cloud.google.com/compute/docs/instances/reservations-overview"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime

from google.cloud import compute_v1 as compute

from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.errors import RETRY, cloud_errors
from sky_core.clouds.gcp.provider import CALL_S, Gcp
from sky_core.clouds.reservations import Held, Holdings
from sky_core.errors import CloudError

OWNED = re.compile(r"^(projects/(?P<owner>[^/]+))/reservations/")


def held(cloud: Gcp, _: Collection[str] | None, named: Collection[str]) -> Holdings:
    """What is ready in the project, and in others that own reservations which are ``named``: lists leave those out.

    In all regions, as one call tells of all: who has named another one is told where it is.
    """
    found = list(_in_project(cloud, cloud.project))
    unreachable = {}
    for owner in sorted({match["owner"] for match in map(OWNED.match, named) if match} - {cloud.project}):
        try:
            found += _in_project(cloud, owner)
        except CloudError as error:
            unreachable[f"projects/{owner}"] = str(error)
    return Holdings(tuple(found), unreachable)


def _in_project(cloud: Gcp, project: str) -> Iterator[Held]:
    client = compute.ReservationsClient(**cloud.reach)
    with cloud_errors(f"list reservations of {project}"):
        scopes = list(client.aggregated_list(project=project, retry=RETRY, timeout=CALL_S))
    prefix = "" if project == cloud.project else f"projects/{project}/reservations/"
    for _, scope in scopes:
        for one in scope.reservations:
            if one.status == "READY" and one.specific_reservation.count:
                yield _held(one, prefix)


def _held(one: compute.Reservation, prefix: str) -> Held:
    zone = one.zone.rsplit("/", 1)[-1]
    machines = one.specific_reservation
    return Held(
        name=f"{prefix}{one.name}",
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=machines.instance_properties.machine_type.rsplit("/", 1)[-1],
        total=machines.count,
        free=max(0, machines.count - machines.in_use_count),
        ends=datetime.fromisoformat(one.delete_at_time).timestamp() if one.delete_at_time else None,
        by_name=one.specific_reservation_required,
        kind="specific reservation" if one.specific_reservation_required else "reservation that all fitting VMs are in",
    )
