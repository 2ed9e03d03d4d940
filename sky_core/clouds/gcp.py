"""Google Cloud behind the contract of :mod:`sky_core.clouds.base`: Compute Engine VMs here, TPU VMs in ``gcp_tpu``.

A VM is named by its request's token, so that asking twice cannot make two. Calls go over REST; ``insert().result()``
would poll the real host whatever the endpoint, hence ``insert_unary`` and ``zoneOperations.wait``.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import google.auth
from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from sky_core.clouds import gcp_names as names
from sky_core.clouds.base import Instance, LaunchRequest, State, Storage
from sky_core.clouds.caller import public_address
from sky_core.clouds.gcp_errors import cloud_errors, operation_error
from sky_core.clouds.gcp_tpu import Tpus
from sky_core.clouds.userdata import cloud_config
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, CapacityError, CloudError, InvalidRequest

NETWORK = "global/networks/default"
NETWORK_TAG = "skyloom"  # the machines that the firewall rule is for
STATES: Mapping[str, State] = {
    "PROVISIONING": "pending",
    "STAGING": "pending",
    "RUNNING": "running",
    "REPAIRING": "running",
    "STOPPING": "stopping",
    "SUSPENDING": "stopping",
    "SUSPENDED": "stopping",
    "STOPPED": "stopping",  # its disk still costs money
    "TERMINATED": "stopping",
}


class Gcp:
    """Google Cloud as the settings reach it: application default credentials, or the sandbox's endpoint."""

    name = "gcp"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        project = config.account
        if config.endpoint is None:
            with cloud_errors("Google Cloud"):
                credentials, found = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            project = project or found
        if not project:
            raise AuthError("Google Cloud: no project", cure="set account in [clouds.gcp] of config.toml")
        self.project = project
        reach: dict[str, Any] = {"credentials": credentials}
        if config.endpoint:
            reach["client_options"] = {"api_endpoint": config.endpoint}
        self._instances = compute.InstancesClient(**reach)
        self._operations = compute.ZoneOperationsClient(**reach)
        self._firewalls = compute.FirewallsClient(**reach)
        self._zones = compute.ZonesClient(**reach)
        self._tpus = Tpus(config, project, reach)
        self._opened: set[str] = set()
        self._buckets: dict[str, Storage] = {}

    def check(self) -> None:
        """List zones: the cheapest call that needs a working login and the Compute API."""
        with cloud_errors("list zones"):
            next(iter(self._zones.list(project=self.project)), None)

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Insert the gang's machines one by one; if one is refused, the others are deleted again."""
        if names.is_tpu(request):
            return self._tpus.launch(request, cloud_config(request, self.config.ssh_user))
        self._open_firewall(request.ports)
        refusal: CapacityError | None = None
        for zone in [request.zone] if request.zone else self._zones_of(request.region):
            try:
                return self._launch_in(zone, request)
            except CapacityError as error:
                refusal = error
        if refusal is None:
            raise InvalidRequest(f"Google Cloud has no region {request.region!r}")
        if request.zone is None:
            raise CapacityError(str(refusal), scope="region", code=refusal.code)
        raise refusal

    def _launch_in(self, zone: str, request: LaunchRequest) -> list[Instance]:
        made: list[str] = []
        try:
            for name in names.node_names(request):
                made.append(f"{zone}/{name}")
                self._insert(zone, name, request)
        except CloudError:
            self.terminate(made)
            raise
        return self.describe(made)

    def _insert(self, zone: str, name: str, request: LaunchRequest) -> None:
        body = _instance_body(zone, name, request, cloud_config(request, self.config.ssh_user))
        # The same request id is the same request, even if the reply to the first was lost.
        call = compute.InsertInstanceRequest(
            project=self.project,
            zone=zone,
            instance_resource=body,
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name + zone)),
        )
        with cloud_errors(f"insert {zone}/{name}"):
            try:
                operation = self._instances.insert_unary(request=call)
            except Conflict:
                return  # made by an earlier call with this token
            while operation.status != compute.Operation.Status.DONE:
                operation = self._operations.wait(project=self.project, zone=zone, operation=operation.name)
        error = operation_error(operation)
        if error is not None:
            raise error

    def find(self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None) -> list[Instance]:
        """aggregatedList by label over all zones, and the TPU nodes of all locations."""
        wanted = names.labels(tags)
        call = compute.AggregatedListInstancesRequest(
            project=self.project, filter=" AND ".join(f"labels.{key}={value}" for key, value in wanted.items())
        )
        with cloud_errors("list instances"):
            pages = list(self._instances.aggregated_list(request=call))
        machines = [_instance(machine) for _, scope in pages for machine in scope.instances]
        found = [machine for machine in machines if wanted.items() <= machine.tags.items()] + self._tpus.find(wanted)
        return [instance for instance in found if regions is None or instance.region in regions]

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Each machine as it is; one that is not there any more is gone."""
        return [self._tpus.describe(id_) if "/tpu/" in id_ else self._describe(id_) for id_ in ids]

    def _describe(self, id_: str) -> Instance:
        zone, name = id_.split("/")
        with cloud_errors(f"get {id_}"):
            try:
                return _instance(self._instances.get(project=self.project, zone=zone, instance=name))
            except NotFound:
                return self._gone(zone, name)

    def _gone(self, zone: str, name: str) -> Instance:
        """What is left of a machine: whether the zone's operations say that it was preempted."""
        query = f'operationType="compute.instances.preempted" AND targetLink eq ".*/instances/{name}"'
        call = compute.ListZoneOperationsRequest(project=self.project, zone=zone, filter=query)
        taken = [op for op in self._operations.list(request=call) if op.target_link.endswith(f"/instances/{name}")]
        return Instance(
            id=f"{zone}/{name}", cloud="gcp", region=names.region_of(zone), zone=zone, instance_type="",
            use_spot=bool(taken), state="gone", preempted=bool(taken),
            reason="compute.instances.preempted" if taken else "deleted",
        )  # fmt: skip

    def terminate(self, ids: Sequence[str]) -> None:
        """Delete machines; their disks go with them."""
        for id_ in ids:
            if "/tpu/" in id_:
                self._tpus.terminate(id_)
                continue
            zone, name = id_.split("/")
            with cloud_errors(f"delete {id_}"), suppress(NotFound):
                self._instances.delete_unary(project=self.project, zone=zone, instance=name)

    def storage(self, region: str) -> Storage:
        """The bucket ``<prefix>-<region>``; buckets are private by Google's own defaults."""
        if region not in self._buckets:
            import fsspec

            bucket = f"{self.config.bucket_prefix or f'skyloom-{self.project}'}-{region}"
            filesystem = fsspec.filesystem("gs", **self.storage_options())
            with cloud_errors(f"make the bucket {bucket}"):
                if not filesystem.exists(bucket):
                    with suppress(FileExistsError):
                        filesystem.mkdir(bucket, location=region.upper())
            self._buckets[region] = Storage(f"gs://{bucket}", region)
        return self._buckets[region]

    def storage_options(self) -> Mapping[str, Any]:
        """gcsfs options: the machine's own service account on Google Cloud, nothing in the sandbox."""
        # gcsfs would ask over gRPC, for up to a minute, whether an emulator's bucket is zonal.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        if self.config.storage_endpoint:
            return {"endpoint_url": self.config.storage_endpoint, "token": "anon", "project": self.project}
        return {"project": self.project}

    def _zones_of(self, region: str) -> list[str]:
        with cloud_errors("list zones"):
            return sorted(z.name for z in self._zones.list(project=self.project) if names.region_of(z.name) == region)

    def _open_firewall(self, ports: Sequence[int]) -> None:
        """Let SSH and the task's ports in from this machine's address, and from nowhere else."""
        source = "127.0.0.1" if self.config.endpoint else public_address()
        allowed = sorted({22, *ports})
        key = hashlib.sha256(f"{source} {allowed}".encode()).hexdigest()[:12]
        if key in self._opened:
            return
        rule = compute.Firewall(
            name=f"skyloom-{key}",
            network=NETWORK,
            direction="INGRESS",
            source_ranges=[f"{source}/32"],
            target_tags=[NETWORK_TAG],
            allowed=[compute.Allowed(I_p_protocol="tcp", ports=[str(port) for port in allowed])],
        )
        with cloud_errors("open the firewall"), suppress(Conflict):
            self._firewalls.insert_unary(project=self.project, firewall_resource=rule)
        self._opened.add(key)


def _instance_body(zone: str, name: str, request: LaunchRequest, user_data: str) -> compute.Instance:
    disk = compute.AttachedDiskInitializeParams(
        source_image=names.image(request),
        disk_size_gb=max(request.disk_gib, 20),
        disk_type=f"zones/{zone}/diskTypes/{names.disk_type(request.instance_type)}",
        labels=names.labels(request.tags),
    )
    outside = compute.AccessConfig(type_="ONE_TO_ONE_NAT", name="External NAT")
    gpu = names.attached_gpu(request)
    accelerators = []
    if gpu is not None:
        kind = f"zones/{zone}/acceleratorTypes/{gpu[0]}"
        accelerators = [compute.AcceleratorConfig(accelerator_type=kind, accelerator_count=gpu[1])]
    return compute.Instance(
        name=name,
        machine_type=f"zones/{zone}/machineTypes/{request.instance_type}",
        labels=names.labels(request.tags),
        tags=compute.Tags(items=[NETWORK_TAG]),
        scheduling=_scheduling(request),
        guest_accelerators=accelerators,
        metadata=compute.Metadata(items=[compute.Items(key="user-data", value=user_data)]),
        disks=[compute.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
        network_interfaces=[compute.NetworkInterface(network=NETWORK, access_configs=[outside])],
    )


def _scheduling(request: LaunchRequest) -> compute.Scheduling:
    scheduling = compute.Scheduling()
    if request.use_spot or request.accelerator:
        scheduling.on_host_maintenance = "TERMINATE"
    if request.use_spot:
        scheduling.provisioning_model = "SPOT"
        scheduling.automatic_restart = False
    if request.use_spot or request.max_hours:
        scheduling.instance_termination_action = "DELETE"
    if request.max_hours:
        scheduling.max_run_duration = compute.Duration(seconds=int(request.max_hours * 3600))
    return scheduling


def _instance(machine: compute.Instance) -> Instance:
    zone = machine.zone.rsplit("/", 1)[-1]
    interface = machine.network_interfaces[0] if machine.network_interfaces else None
    outside = interface.access_configs[0].nat_i_p if interface and interface.access_configs else ""
    return Instance(
        id=f"{zone}/{machine.name}",
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=machine.machine_type.rsplit("/", 1)[-1],
        use_spot=machine.scheduling.provisioning_model == "SPOT",
        state=STATES.get(machine.status, "pending"),
        ip=outside or None,
        private_ip=(interface.network_i_p or None) if interface else None,
        launched_at=_epoch(machine.creation_timestamp),
        tags=dict(machine.labels),
        reason="" if machine.status == "RUNNING" else machine.status_message or machine.status,
    )


def _epoch(timestamp: str) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None
