"""TPU VMs (https://cloud.google.com/tpu/docs/reference/rest/v2): one node is a slice of one or more hosts.

A node is named by the request's token. A stock-out is the failure of the creating operation; a node that was
preempted stays, with state PREEMPTED, until it is deleted. The cloud has no limit of run time for nodes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from shlex import quote
from typing import Any

from google.api_core.exceptions import Conflict, Forbidden, NotFound
from google.api_core.operation import Operation
from google.cloud import tpu_v2

from sky_core.clouds.base import REFUSALS, Armed, Found, Instance, LaunchRequest, State, whole_gang
from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.bodies import ALL_SCOPES, NETWORK_TAG, TAGS_KEY, given_tags
from sky_core.clouds.gcp.errors import RETRY, all_or_nothing, tpu_error, tpu_errors
from sky_core.clouds.gcp.vpc import vpc
from sky_core.clouds.userdata import arming, cloud_config, public_key
from sky_core.config import CloudConfig
from sky_core.errors import CloudError, InvalidRequest, NotSetUp, Throttled, UnknownOutcome

log = logging.getLogger(__name__)

NODE_KEY = "skyloom-node"  # metadata: the node's resource name, which its machines cannot tell by themselves
CALL_S = 60.0  # time-out of one call
IDENTITY = (
    "make a service account that may tpu.nodes.delete and nothing else, and name it as tpu_identity in [clouds.gcp]"
    " (docs/first-real-run.md has the commands), or a machine_identity"
)
# Refusals come within seconds, creation takes minutes: what has not been refused by then counts as accepted.
ACCEPTED_S = 30.0
STATES: Mapping[str, State] = {
    "CREATING": "pending",
    "STARTING": "pending",
    "RESTARTING": "pending",
    "READY": "running",
}  # in all others nothing runs any more, but the node is there until it is deleted


class Tpus:
    """The TPU half of Google Cloud. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, config: CloudConfig, project: str, reach: Mapping[str, Any]) -> None:
        self._config = config
        self._project = project
        self._client = tpu_v2.TpuClient(transport="rest", **reach)
        self._unclear: set[str] = set()  # tokens of calls of which nobody knows what they did

    # --- launching -------------------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Create a node for each of the gang's machines; if one is refused, the others are deleted again.

        Raises:
            InvalidRequest: without a zone, or for a name that is no TPU.
        """
        zone = request.zone
        if zone is None:
            raise InvalidRequest(f"zone: TPUs are offered by zone, and {request.region} was asked for without one")
        nodes = [f"{zone}/tpu/{name}" for name in names.node_names(request)]
        try:
            self._launch(zone, request)
        except REFUSALS as refusal:
            unclear = request.asked_before or request.token in self._unclear
            if not unclear or not self._made_before(nodes, request, refusal):
                raise
        # The API has no limit of run time. A machine that powers off goes on costing: it has to delete its node.
        armed: Armed = "machine" if request.switch else "none"
        return [replace(self._look(node), armed=armed) for node in nodes]

    def _launch(self, zone: str, request: LaunchRequest) -> None:
        operations: dict[str, Operation | None] = {}
        try:
            with all_or_nothing(operations, partial(self._delete_all, zone)):
                for name in names.node_names(request):
                    operations[name] = self._create(zone, name, request)
                deadline = time.monotonic() + ACCEPTED_S
                for name, operation in operations.items():
                    if operation is not None:
                        self._accepted(f"create {zone}/{name}", operation, deadline)
        except (UnknownOutcome, Throttled):
            self._unclear.add(request.token)
            raise

    def _made_before(self, nodes: Sequence[str], request: LaunchRequest, refusal: CloudError) -> bool:
        """Whether an earlier call with this token made the whole gang; what is left of one is deleted.

        The refusal is marked as not settled: the earlier call may still be under way.
        """
        refusal.settled = False
        try:
            looks = [self._look(node) for node in nodes]
            there = [look for look in looks if look.state != "gone" and request.tags.items() <= look.tags.items()]
            if whole_gang(there, request):
                return True
            for look in there:
                self.terminate(look.id)
        except CloudError as error:
            log.warning("%s: what an earlier call made could not be deleted: %s", request.token, error)
        return False

    def _create(self, zone: str, name: str, request: LaunchRequest) -> Operation | None:
        """Ask for one node; None if it is there already, made by an earlier call with this token."""
        node = _node(request, self._config, self._path(zone, name))
        with tpu_errors(f"create {zone}/{name}"):
            try:
                return self._client.create_node(parent=self._location(zone), node=node, node_id=name, timeout=CALL_S)
            except Conflict:
                there = self._client.get_node(name=self._path(zone, name), retry=RETRY, timeout=CALL_S)
        ours = request.tags.items() <= given_tags(there.metadata, there.labels).items()
        if there.accelerator_type != node.accelerator_type or not ours:
            raise InvalidRequest(f"token: {zone} has another node of the name {name!r}", code="ALREADY_EXISTS")
        return None

    def _accepted(self, what: str, operation: Operation, deadline: float) -> None:
        """Wait until the node is there, refused, or ``deadline`` (monotonic seconds) has come."""
        with tpu_errors(what):
            while not operation.done() and time.monotonic() < deadline:  # type: ignore[no-untyped-call]
                time.sleep(min(self._config.min_poll_s, 2.0))
            error = operation.operation.error
        if error.code:
            raise tpu_error(error.code, f"{what}: {error.message}")

    # --- looking ---------------------------------------------------------------------------------------------

    def all_hosts(self) -> Found:
        """The hosts of all nodes in every location; none where the project does not use the TPU API."""
        call = tpu_v2.ListNodesRequest(parent=self._location("-"))
        with tpu_errors("list TPU nodes"):
            try:
                pages = list(self._client.list_nodes(request=call, retry=RETRY, timeout=CALL_S).pages)
            except Forbidden as error:
                if error.reason != "SERVICE_DISABLED":
                    raise
                pages = []
        return Found(
            tuple(host for page in pages for node in page.nodes for host in _instances(node)),
            {place.rpartition("/")[2]: "the TPU API does not reach it" for page in pages for place in page.unreachable},
        )

    def describe(self, id_: str) -> list[Instance]:
        """All hosts of a node, which has them once it is ready; the node itself before and after that.

        An id with the number of a host in it is that one host.
        """
        node_id = _node_id(id_)
        hosts = self._hosts(node_id)
        return hosts if id_ == node_id else [next((host for host in hosts if host.id == id_), _gone(id_))]

    def _look(self, node_id: str) -> Instance:
        """The node as one machine: its first host stands for all."""
        return self._hosts(node_id)[0]

    def _hosts(self, node_id: str) -> list[Instance]:
        zone, _, name = node_id.split("/")
        with tpu_errors(f"get {node_id}"):
            try:
                return _instances(self._client.get_node(name=self._path(zone, name), retry=RETRY, timeout=CALL_S))
            except NotFound:
                return [_gone(node_id)]

    # --- ending ----------------------------------------------------------------------------------------------

    def terminate(self, id_: str) -> None:
        """Delete the host's node with all its hosts."""
        zone, _, name = _node_id(id_).split("/")
        self._delete(zone, name)

    def _delete(self, zone: str, name: str) -> Operation | None:
        with tpu_errors(f"delete {zone}/{name}"), suppress(NotFound):
            return self._client.delete_node(name=self._path(zone, name), retry=RETRY, timeout=CALL_S)
        return None

    def _delete_all(self, zone: str, made: Collection[str]) -> None:
        """Delete nodes and see them go, so that their names are free again."""
        deletions = {name: self._delete(zone, name) for name in made}
        deadline = time.monotonic() + ACCEPTED_S
        for name, operation in deletions.items():
            if operation is not None:
                self._accepted(f"delete {zone}/{name}", operation, deadline)

    def _location(self, zone: str) -> str:
        return f"projects/{self._project}/locations/{zone}"

    def _path(self, zone: str, name: str) -> str:
        return f"{self._location(zone)}/nodes/{name}"


def account_of(config: CloudConfig) -> str | None:
    """The service account of TPU VMs, or None if the settings name none."""
    return config.machine_identity or config.tpu_identity


def _node(request: LaunchRequest, config: CloudConfig, path: str) -> tpu_v2.Node:
    """The node that a request asks for; it is told its own resource name, by which it can delete itself.

    The TPU API knows no narrower scope than all: what the machine may do is up to its service account's roles. Without
    one of its own a node would be the project's default account, which is an editor in many, and so would the user's
    code (https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes#ServiceAccount).

    Raises:
        NotSetUp: if the settings name no account for it.
    """
    account = account_of(config)
    if account is None:
        raise NotSetUp("TPU VMs have no service account to delete themselves by", scope="type", cure=IDENTITY)
    user, there = config.ssh_user, vpc(config, path.split("/")[1], request.region)
    kind, runtime = names.tpu_version(request.accelerator or "")
    metadata = {
        "user-data": cloud_config(request, user),
        "startup-script": startup_script(request, user),
        TAGS_KEY: json.dumps(dict(request.tags)),
        NODE_KEY: path,
    }
    return tpu_v2.Node(
        accelerator_type=kind,
        runtime_version=request.image or runtime,
        network_config=tpu_v2.NetworkConfig(
            enable_external_ips=there.public, network=there.full if there.named else "", subnetwork=there.subnetwork
        ),
        scheduling_config=tpu_v2.SchedulingConfig(spot=request.use_spot),
        service_account=tpu_v2.ServiceAccount(email=account, scope=ALL_SCOPES),
        labels=names.labels(request.tags),
        tags=[NETWORK_TAG, *there.tags],
        metadata=metadata,
    )


def startup_script(request: LaunchRequest, user: str) -> str:
    """What :func:`cloud_config` says, as a shell script: Google documents only these for TPU VMs.

    https://cloud.google.com/tpu/docs/managing-tpus-tpu-vm (startup scripts). Runs at every boot, hence idempotent.
    """
    name, home = quote(user), quote(f"/home/{user}")
    private, public = quote(request.host_key.strip()), quote(public_key(request.host_key))
    return f"""#!/bin/bash
{arming(request.switch, user)}set -eu
id -u {name} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {name}
echo {quote(f"{user} ALL=(ALL) NOPASSWD:ALL")} >/etc/sudoers.d/90-skyloom
install -d -m 700 -o {name} -g {name} {home}/.ssh
echo {quote(request.authorized_key.strip())} >{home}/.ssh/authorized_keys
chown {name}:{name} {home}/.ssh/authorized_keys
chmod 600 {home}/.ssh/authorized_keys
umask 077
key=/etc/ssh/ssh_host_ed25519_key
if [ "$(cat $key.pub 2>/dev/null)" != {public} ]; then
  rm -f /etc/ssh/ssh_host_*_key*
  echo {private} >$key
  echo {public} >$key.pub
  systemctl restart ssh
fi
"""


def _node_id(id_: str) -> str:
    return "/".join(id_.split("/")[:3])


def _gone(id_: str) -> Instance:
    zone = id_.split("/")[0]
    return Instance(
        id=id_,
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=names.TPU_INSTANCE_TYPE,
        use_spot=False,
        state="gone",
        reason="deleted",
    )


def _instances(node: tpu_v2.Node) -> list[Instance]:
    """One instance for each host of the node's slice."""
    _, _, _, zone, _, name = node.name.split("/")
    return [
        _instance(node, zone, name, index, endpoint) for index, endpoint in enumerate(node.network_endpoints or [None])
    ]


def _instance(node: tpu_v2.Node, zone: str, name: str, index: int, endpoint: tpu_v2.NetworkEndpoint | None) -> Instance:
    state = node.state.name
    inside = endpoint.ip_address if endpoint is not None else None
    outside = endpoint.access_config.external_ip if endpoint is not None else None
    return Instance(
        id=f"{zone}/tpu/{name}" + (f"/{index}" if index else ""),
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=names.TPU_INSTANCE_TYPE,
        use_spot=node.scheduling_config.spot or node.scheduling_config.preemptible,
        state=STATES.get(state, "stopping"),
        ip=outside or inside or None,
        private_ip=inside or None,
        launched_at=node.create_time.timestamp() if node.create_time else None,
        tags=given_tags(node.metadata, node.labels),
        reason="" if state == "READY" else state,
        preempted=state == "PREEMPTED",
    )
