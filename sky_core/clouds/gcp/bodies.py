"""Requests to Compute Engine, and its machines as ours: pure functions over google-cloud-compute's types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from google.cloud import compute_v1 as compute

from sky_core.clouds.base import Found, Instance, LaunchRequest, State
from sky_core.clouds.gcp import names

API = "https://www.googleapis.com/compute/v1"  # as links name it, whatever host answers
NETWORK_TAG = "skyloom"  # the machines that our firewall rules are for
TAGS_KEY = "skyloom-tags"  # metadata: the tags as they were given, which labels cannot always hold
TYPE_KEY = "skyloom-type"  # metadata of a service's machines: what was asked for, by our name
RESERVATION_KEY = "compute.googleapis.com/reservation-name"
CLUSTER_LABEL = "goog-dataproc-cluster-name"  # of a machine that belongs to a cluster of Dataproc
ALL_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]  # what the machine may do is up to its account's roles
MAX_RUN_S = (30, 120 * 24 * 3600)  # https://cloud.google.com/compute/docs/instances/limit-vm-runtime

# https://cloud.google.com/compute/docs/instances/instance-lifecycle
STATES: Mapping[str, State] = {
    "PENDING": "pending",
    "PROVISIONING": "pending",
    "STAGING": "pending",
    "RUNNING": "running",
    # Whatever ran on these is over, but until they are deleted their disks cost money.
    "PENDING_STOP": "stopping",
    "STOPPING": "stopping",
    "SUSPENDING": "stopping",
    "SUSPENDED": "stopping",
    "STOPPED": "stopping",
    "TERMINATED": "stopping",
    "REPAIRING": "stopping",
    "DEPROVISIONING": "stopping",
}
ENDED = frozenset({"STOPPED", "TERMINATED", "SUSPENDED"})
PREEMPTED = "compute.instances.preempted"
ENDS = frozenset({"delete", "stop", PREEMPTED, "compute.instances.guestTerminate", "compute.instances.hostError"})


def instance_body(
    zone: str,
    name: str,
    request: LaunchRequest,
    user_data: str,
    interface: compute.NetworkInterface,
    identity: str | None = None,
    tags: Sequence[str] = (NETWORK_TAG,),
) -> compute.Instance:
    """The machine that a request asks for, for ``instances.insert``; ``identity`` is a service account's email.

    Without one it has no account: the default one is an editor of the project in many, and with whatever scope lets a
    machine delete itself its user's code may read, change and delete all others.
    """
    labels = names.labels(request.tags)
    disk = compute.AttachedDiskInitializeParams(
        source_image=names.image(request),
        disk_size_gb=names.disk_gib(request),
        disk_type=f"zones/{zone}/diskTypes/{names.disk_type(request.instance_type)}",
        labels=labels,
    )
    metadata = {"user-data": user_data, TAGS_KEY: json.dumps(dict(request.tags))}
    if request.accelerator:
        metadata["install-nvidia-driver"] = "True"  # for deep learning images that come without one
    return compute.Instance(
        name=name,
        machine_type=f"zones/{zone}/machineTypes/{request.instance_type}",
        labels=labels,
        tags=compute.Tags(items=list(tags)),
        scheduling=_scheduling(request),
        guest_accelerators=_accelerators(zone, request),
        metadata=compute.Metadata(items=[compute.Items(key=key, value=value) for key, value in metadata.items()]),
        disks=[compute.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
        network_interfaces=[interface],
        service_accounts=[compute.ServiceAccount(email=identity, scopes=ALL_SCOPES)] if identity else [],
        **({"reservation_affinity": _affinity(request.reservation)} if request.reservation else {}),
    )


def _affinity(reservation: str) -> compute.ReservationAffinity:
    """https://cloud.google.com/compute/docs/instances/reservations-consume#consume-specific-reservation"""
    return compute.ReservationAffinity(
        consume_reservation_type="SPECIFIC_RESERVATION", key=RESERVATION_KEY, values=[reservation]
    )


def _accelerators(zone: str, request: LaunchRequest) -> list[compute.AcceleratorConfig]:
    attached = names.attached_gpu(request)
    if attached is None:
        return []
    kind, count = attached
    return [
        compute.AcceleratorConfig(accelerator_type=f"zones/{zone}/acceleratorTypes/{kind}", accelerator_count=count)
    ]


def _scheduling(request: LaunchRequest) -> compute.Scheduling:
    scheduling = compute.Scheduling(automatic_restart=False)  # a machine that died is replaced, not awaited
    if request.use_spot:
        scheduling.provisioning_model = "SPOT"
    if request.use_spot or request.accelerator:
        scheduling.on_host_maintenance = "TERMINATE"
    if request.use_spot or request.switch:
        scheduling.instance_termination_action = "DELETE"
    if request.switch:
        least, most = MAX_RUN_S
        scheduling.max_run_duration = compute.Duration(seconds=min(max(int(request.switch.max_s), least), most))
    return scheduling


def instance(machine: compute.Instance) -> Instance:
    """A machine of Compute Engine as ours."""
    zone = machine.zone.rsplit("/", 1)[-1]
    interface = machine.network_interfaces[0] if machine.network_interfaces else None
    outside = interface.access_configs[0].nat_i_p if interface and interface.access_configs else ""
    told = {item.key: item.value for item in machine.metadata.items}
    cluster = machine.labels.get(CLUSTER_LABEL)
    return Instance(
        id=f"{zone}/dataproc/{cluster}" if cluster else f"{zone}/{machine.name}",
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=told.get(TYPE_KEY) or machine.machine_type.rsplit("/", 1)[-1],
        use_spot=machine.scheduling.provisioning_model == "SPOT",
        state=STATES.get(machine.status, "pending"),
        queued=machine.status == "PENDING",
        ip=outside or None,
        private_ip=(interface.network_i_p or None) if interface else None,
        launched_at=_seconds(machine.last_start_timestamp or machine.creation_timestamp),
        ended_at=_seconds(machine.last_stop_timestamp) if machine.status in ENDED else None,
        tags=given_tags(told, machine.labels),
        reason="" if STATES.get(machine.status) == "running" else machine.status_message or machine.status,
    )


def sought(
    looks: Iterable[Found], refused: Mapping[str, str], tags: Mapping[str, str], regions: Sequence[str] | None,
    instance_type: str | None,
) -> Found:  # fmt: skip
    """What all APIs together show of what is looked for, a cluster once; ``refused`` is why an API showed nothing."""
    instances, unreachable = dict[str, Instance](), dict(refused)
    for look in looks:
        unreachable |= look.unreachable
        for one in look.instances:
            here = regions is None or one.region in regions
            if here and tags.items() <= one.tags.items() and instance_type in (None, one.instance_type):
                instances[one.id] = one
    about = {
        place: why
        for place, why in unreachable.items()
        if regions is None or place in refused or names.region_of(place) in regions
    }
    return Found(tuple(instances.values()), about)


def _seconds(timestamp: str) -> float | None:
    """Seconds since the epoch of one of the API's RFC 3339 timestamps; None for an empty one."""
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def given_tags(metadata: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """The tags a machine was launched with; its labels where somebody else launched it."""
    written = metadata.get(TAGS_KEY)
    return json.loads(written) if written else dict(labels)


def ended_by(machine: Instance, history: Sequence[compute.Operation]) -> Instance:
    """A machine that runs no more, with when and how it ended, by the operations on it.

    The first of its ends counts: one that halted and is deleted later has cost nothing in between.
    """
    begun = max((_seconds(one.insert_time) or 0.0 for one in history if one.operation_type == "insert"), default=0.0)
    ends = [one for one in history if one.operation_type in ENDS and (_seconds(one.insert_time) or 0.0) >= begun]
    if any(one.operation_type == PREEMPTED for one in ends):
        machine = replace(machine, use_spot=True, preempted=True, reason=PREEMPTED)
    times = [_seconds(one.end_time) for one in ends if one.status == compute.Operation.Status.DONE]
    known = [at for at in (machine.ended_at, *times) if at is not None]
    return replace(machine, ended_at=min(known, default=None))


def gone(zone: str, name: str) -> Instance:
    """A machine that Compute Engine no longer knows."""
    return Instance(
        id=f"{zone}/{name}",
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type="",
        use_spot=False,
        state="gone",
        reason="deleted",
    )
