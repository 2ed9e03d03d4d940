"""TPU VMs (https://cloud.google.com/tpu/docs/reference/rest/v2): one node is a slice of one or more hosts.

A node is named by the request's token. A stock-out is the failure of the creating operation; a node that was
preempted stays, with state PREEMPTED, until it is deleted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from google.api_core.exceptions import AlreadyExists, Conflict, NotFound
from google.cloud import tpu_v2

from sky_core.clouds import gcp_names as names
from sky_core.clouds.base import Instance, LaunchRequest, State
from sky_core.clouds.gcp_errors import cloud_errors, tpu_error
from sky_core.config import CloudConfig
from sky_core.errors import CloudError, InvalidRequest

# Refusals come within seconds, creation takes minutes: what has not been refused by then counts as accepted.
ACCEPTED_S = 30.0
STATES: Mapping[str, State] = {
    "CREATING": "pending",
    "STARTING": "pending",
    "RESTARTING": "pending",
    "READY": "running",
    "REPAIRING": "running",
}


class Tpus:
    """The TPU half of Google Cloud. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, config: CloudConfig, project: str, reach: Mapping[str, Any]) -> None:
        self._config = config
        self._project = project
        self._client = tpu_v2.TpuClient(transport="rest", **reach)

    def launch(self, request: LaunchRequest, user_data: str) -> list[Instance]:
        """Create a node for each of the gang's machines; if one is refused, the others are deleted again.

        Raises:
            InvalidRequest: without a zone, or for a name that is no TPU.
        """
        if request.zone is None:
            raise InvalidRequest(f"TPUs are offered by zone, and {request.region} was asked for without one")
        made: list[str] = []
        try:
            for name in names.node_names(request):
                made.append(f"{request.zone}/tpu/{name}")
                self._create(request.zone, name, request, user_data)
        except CloudError:
            for id_ in made:
                self.terminate(id_)
            raise
        return [host for id_ in made for host in self._hosts(id_)]

    def _create(self, zone: str, name: str, request: LaunchRequest, user_data: str) -> None:
        kind, runtime = names.tpu_version(request.accelerator or "")
        node = tpu_v2.Node(
            accelerator_type=kind,
            runtime_version=request.image or runtime,
            network_config=tpu_v2.NetworkConfig(enable_external_ips=True),
            scheduling_config=tpu_v2.SchedulingConfig(spot=request.use_spot),
            labels=names.labels(request.tags),
            metadata={"user-data": user_data},
        )
        with cloud_errors(f"create {zone}/{name}"):
            try:
                operation = self._client.create_node(parent=self._location(zone), node=node, node_id=name)
            except (AlreadyExists, Conflict):
                return  # made by an earlier call with this token
            deadline = time.monotonic() + ACCEPTED_S
            while not operation.done() and time.monotonic() < deadline:  # type: ignore[no-untyped-call]
                time.sleep(min(self._config.min_poll_s, 2.0))
            error = operation.operation.error
        if error.code:
            raise tpu_error(error.code, error.message)

    def find(self, labels: Mapping[str, str]) -> list[Instance]:
        """The hosts of all nodes with these labels, in every location."""
        with cloud_errors("list TPU nodes"):
            nodes = list(self._client.list_nodes(parent=self._location("-")))
        mine = [node for node in nodes if labels.items() <= dict(node.labels).items()]
        return [host for node in mine for host in _instances(node)]

    def describe(self, id_: str) -> Instance:
        """One host; gone if its node is not there any more."""
        return next((host for host in self._hosts(_node_id(id_)) if host.id == id_), _gone(id_))

    def terminate(self, id_: str) -> None:
        """Delete the host's node with all its hosts."""
        zone, _, name = _node_id(id_).split("/")
        with cloud_errors(f"delete {id_}"), suppress(NotFound):
            self._client.delete_node(name=f"{self._location(zone)}/nodes/{name}")

    def _hosts(self, node_id: str) -> list[Instance]:
        zone, _, name = node_id.split("/")
        with cloud_errors(f"get {node_id}"):
            try:
                return _instances(self._client.get_node(name=f"{self._location(zone)}/nodes/{name}"))
            except NotFound:
                return []

    def _location(self, zone: str) -> str:
        return f"projects/{self._project}/locations/{zone}"


def _node_id(id_: str) -> str:
    return "/".join(id_.split("/")[:3])


def _gone(id_: str) -> Instance:
    zone = id_.split("/")[0]
    return Instance(
        id=id_, cloud="gcp", region=names.region_of(zone), zone=zone, instance_type=names.TPU_INSTANCE_TYPE,
        use_spot=False, state="gone", reason="deleted",
    )  # fmt: skip


def _instances(node: tpu_v2.Node) -> list[Instance]:
    """One instance for each host of the node's slice."""
    _, _, _, zone, _, name = node.name.split("/")
    state = node.state.name
    created = node.create_time.timestamp() if node.create_time else None
    hosts = []
    for index, endpoint in enumerate(node.network_endpoints or [None]):
        outside = endpoint.access_config.external_ip if endpoint is not None else ""
        hosts.append(
            Instance(
                id=f"{zone}/tpu/{name}" + (f"/{index}" if index else ""),
                cloud="gcp",
                region=names.region_of(zone),
                zone=zone,
                instance_type=names.TPU_INSTANCE_TYPE,
                use_spot=node.scheduling_config.spot or node.scheduling_config.preemptible,
                state="gone" if state in ("PREEMPTED", "TERMINATED") else STATES.get(state, "stopping"),
                ip=(outside or endpoint.ip_address) if endpoint is not None else None,
                private_ip=endpoint.ip_address if endpoint is not None else None,
                launched_at=created,
                tags=dict(node.labels),
                reason="" if state == "READY" else state,
                preempted=state == "PREEMPTED",
            )
        )
    return hosts
