"""Cloud TPU's nodes and queued resources as requests have them, and as machines of ours.

A machine's id tells which of the two it was asked for as: ``zone/tpu/name``, or ``zone/tpu-queue/name`` for a node that
its queued resource of the same name ends with itself; ``/1`` and so on follows for further hosts of a slice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from shlex import quote
from typing import Literal

from google.cloud import tpu_v2
from google.protobuf.duration_pb2 import Duration

from sky_core.clouds.base import REFUSALS, Instance, LaunchRequest, State
from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.bodies import ALL_SCOPES, NETWORK_TAG, TAGS_KEY, given_tags
from sky_core.clouds.gcp.errors import tpu_error
from sky_core.clouds.gcp.network.vpc import vpc
from sky_core.clouds.userdata import arming, cloud_config, public_key
from sky_core.config import CloudConfig
from sky_core.errors import CapacityError, CloudError, NotSetUp

# Metadata: what a machine deletes to end its bill, as the API's path, which its machines cannot tell by themselves.
NODE_KEY = "skyloom-node"
FORCED = "?force=true"  # a queued resource with its nodes; without it one that has any is refused
IDENTITY = (
    "make a service account that may tpu.nodes.delete and nothing else, and name it as tpu_identity in [clouds.gcp]"
    " (docs/first-real-run.md has the commands), or a machine_identity"
)
STATES: Mapping[str, State] = {
    "CREATING": "pending",
    "STARTING": "pending",
    "RESTARTING": "pending",
    "READY": "running",
}  # in all others nothing runs any more, but the node is there until it is deleted
Kind = Literal["tpu", "tpu-queue"]
WAITING = frozenset({"CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES"})  # of a queued resource: nothing is there yet
COMING = frozenset({"PROVISIONING", "ACTIVE"})  # its node is about to show
SUSPENDED = frozenset({"SUSPENDING", "SUSPENDED"})  # its node is gone; it stays and counts until it is deleted


def is_queued_id(id_: str) -> bool:
    """Whether it was asked for through the queue."""
    return id_.split("/")[1] == "tpu-queue"


def node_id(id_: str) -> str:
    """The id of the node that a host belongs to."""
    return "/".join(id_.split("/")[:3])


def account_of(config: CloudConfig) -> str | None:
    """The service account of TPU VMs, or None if the settings name none."""
    return config.machine_identity or config.tpu_identity


def node_of(request: LaunchRequest, config: CloudConfig, ends: str) -> tpu_v2.Node:
    """The node that a request asks for; it is told what to delete so that it ``ends``.

    The TPU API knows no narrower scope than all: what the machine may do is up to its service account's roles. Without
    one of its own a node would be the project's default account, which is an editor in many, and so would the user's
    code (https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes#ServiceAccount).

    Raises:
        NotSetUp: if the settings name no account for it.
    """
    account = account_of(config)
    if account is None:
        raise NotSetUp("TPU VMs have no service account to delete themselves by", scope="type", cure=IDENTITY)
    user, there = config.ssh_user, vpc(config, ends.split("/")[1], request.region)
    kind, runtime = names.tpu_version(request.accelerator or "")
    metadata = {
        "user-data": cloud_config(request, user),
        "startup-script": startup_script(request, user),
        TAGS_KEY: json.dumps(dict(request.tags)),
        NODE_KEY: ends,
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


def queued_of(request: LaunchRequest, node: tpu_v2.Node, location: str, name: str) -> tpu_v2.QueuedResource:
    """A node as the queue is asked for it; past its time the cloud itself makes none any more.

    https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources
    """
    spec = tpu_v2.QueuedResource.Tpu.NodeSpec(parent=location, node_id=name, node=node)
    valid = Duration(seconds=max(1, int(request.queue_s or 0)))
    resource = tpu_v2.QueuedResource(
        tpu=tpu_v2.QueuedResource.Tpu(node_spec=[spec]),
        queueing_policy=tpu_v2.QueuedResource.QueueingPolicy(valid_until_duration=valid),
    )
    if request.use_spot:
        resource.spot = tpu_v2.QueuedResource.Spot()
    else:
        resource.guaranteed = tpu_v2.QueuedResource.Guaranteed()
    return resource


def gone(id_: str) -> Instance:
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


def instances(node: tpu_v2.Node) -> list[Instance]:
    """One instance for each host of the node's slice."""
    return [_instance(node, index, endpoint) for index, endpoint in enumerate(node.network_endpoints or [None])]


def _instance(node: tpu_v2.Node, index: int, endpoint: tpu_v2.NetworkEndpoint | None) -> Instance:
    _, _, _, zone, _, name = node.name.split("/")
    kind: Kind = "tpu-queue" if node.queued_resource else "tpu"
    state = node.state.name
    inside = endpoint.ip_address if endpoint is not None else None
    outside = endpoint.access_config.external_ip if endpoint is not None else None
    return Instance(
        id=f"{zone}/{kind}/{name}" + (f"/{index}" if index else ""),
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


def waiting(resource: tpu_v2.QueuedResource) -> Instance:
    """A queued resource of which no node is to be seen: one that waits, has failed, or has lost it."""
    _, _, _, zone, _, name = resource.name.split("/")
    spec, state = resource.tpu.node_spec[0].node, resource.state.state.name
    by_service = resource.state.state_initiator == tpu_v2.QueuedResourceState.StateInitiator.SERVICE
    return Instance(
        id=f"{zone}/tpu-queue/{name}",
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=names.TPU_INSTANCE_TYPE,
        use_spot="spot" in resource,
        state="pending" if state in WAITING | COMING else "stopping",
        launched_at=resource.create_time.timestamp() if resource.create_time else None,
        tags=given_tags(spec.metadata, spec.labels),
        reason=state,
        preempted=state in SUSPENDED and by_service and "spot" in resource,
        queued=state in WAITING,
        failed=why_none(resource),
    )


def why_none(resource: tpu_v2.QueuedResource) -> CloudError | None:
    """Why a queued resource has come to nothing, as a refusal; None of one that waits, or is being deleted.

    It says so by its state, in words of its own: that it has waited in vain, that there is no quota. What cannot be
    sorted is taken for a want of capacity, which is what the queue is about.
    """
    state = resource.state.state.name
    if state in SUSPENDED:
        return CapacityError(f"the queued resource is {state}: its node was taken", scope="zone", code=state)
    if state != "FAILED":
        return None
    told = resource.state.failed_data.error
    why = tpu_error(told.code, told.message or "the queued resource has failed")
    return why if isinstance(why, REFUSALS) else CapacityError(str(why), scope="zone", code=state)
