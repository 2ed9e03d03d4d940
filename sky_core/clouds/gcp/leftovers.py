"""What stays on Google Cloud when machines go: disks that lost theirs, firewall rules, buckets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import compute_v1 as compute

from sky_core.clouds.base import Leftover, Leftovers
from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.errors import RETRY, cloud_errors
from sky_core.clouds.gcp.storage import Buckets
from sky_core.errors import AuthError, CloudError, InvalidRequest

CALL_S = 60.0
RULES = "skyloom-"  # how our firewall rules begin: Compute Engine gives them no labels


class Remains:
    """The leftovers of a project. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, project: str, reach: Mapping[str, Any], buckets: Buckets) -> None:
        self._project = project
        self._disks = compute.DisksClient(**reach)
        self._firewalls = compute.FirewallsClient(**reach)
        self._buckets = buckets

    def find(self, tags: Mapping[str, str]) -> Leftovers:
        """All of them.

        Raises:
            AuthError: if not one of the APIs lets us in.
        """
        asks: dict[str, Callable[[], Sequence[Leftover]]] = {
            "disks": lambda: self._idle_disks(tags),
            "firewalls": self._rules,
            "storage": self._buckets.leftovers,
        }
        things: list[Leftover] = []
        refusals: dict[str, CloudError] = {}
        for api, ask in asks.items():
            try:
                things += ask()
            except CloudError as error:
                refusals[api] = error
        if len(refusals) == len(asks) and isinstance(refusals["firewalls"], AuthError):
            raise refusals["firewalls"]
        return Leftovers(tuple(things), {api: str(error) for api, error in refusals.items()})

    def _idle_disks(self, tags: Mapping[str, str]) -> list[Leftover]:
        filter_ = " AND ".join(f'labels.{key}="{value}"' for key, value in names.labels(tags).items())
        call = compute.AggregatedListDisksRequest(project=self._project, filter=filter_)
        with cloud_errors("list disks"):
            scopes = list(self._disks.aggregated_list(request=call, retry=RETRY, timeout=CALL_S))
        idle = [disk for _, scope in scopes for disk in scope.disks if not disk.users]
        zones = [(disk.zone.rpartition("/")[2], disk.name) for disk in idle]
        return [Leftover("disk", f"{zone}/{name}", "gcp", names.region_of(zone)) for zone, name in zones]

    def _rules(self) -> list[Leftover]:
        with cloud_errors("list firewall rules"):
            rules = list(self._firewalls.list(project=self._project, retry=RETRY, timeout=CALL_S))
        return [Leftover("firewall", r.name, "gcp", "", shared=True) for r in rules if r.name.startswith(RULES)]

    def remove(self, leftover: Leftover) -> None:
        """Delete one; fine if it is gone.

        Raises:
            InvalidRequest: if it holds data or is in use.
        """
        if leftover.holds_data:
            raise InvalidRequest(f"{leftover.id} holds data: delete it by hand")
        with cloud_errors(f"delete {leftover.id}"), suppress(NotFound):
            if leftover.kind == "firewall":
                self._firewalls.delete_unary(project=self._project, firewall=leftover.id, timeout=CALL_S)
            else:
                zone, _, name = leftover.id.partition("/")
                self._disks.delete_unary(project=self._project, zone=zone, disk=name, timeout=CALL_S)
