"""Google Cloud behind the contract of :mod:`sky_core.clouds.base`: Compute Engine VMs here, TPU VMs in ``gcp_tpu``.

A VM is named by its request's token, so that asking twice cannot make two. Calls go over REST; ``insert().result()``
would poll the real host whatever the endpoint, hence ``insert_unary`` and ``zoneOperations.wait``.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import google.auth
from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1 as compute

from sky_core.clouds import gcp_bodies as bodies
from sky_core.clouds import gcp_names as names
from sky_core.clouds.base import Instance, LaunchRequest, Storage
from sky_core.clouds.caller import public_address
from sky_core.clouds.gcp_errors import RETRY, all_or_nothing, cloud_errors, operation_error
from sky_core.clouds.gcp_storage import Buckets
from sky_core.clouds.gcp_tpu import Tpus
from sky_core.clouds.userdata import cloud_config
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, CapacityError, InvalidRequest, UnknownOutcome

CALL_S = 60.0  # time-out of one call; creating calls are not repeated here, the caller does so with the same token
WAIT_S = 150.0  # zoneOperations.wait answers after two minutes at most
DONE_S = 600.0  # an operation that is not done by then is unclear
PREEMPTED = "compute.instances.preempted"
DONE = compute.Operation.Status.DONE


class Gcp:
    """Google Cloud as the settings reach it: application default credentials, or the sandbox's endpoint."""

    name = "gcp"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
        project = config.account
        if config.endpoint is None:
            with cloud_errors("Google Cloud"):
                credentials, found = google.auth.default(scopes=bodies.ALL_SCOPES)
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
        self._buckets = Buckets(config, project, credentials)
        self._opened: set[str] = set()

    def check(self) -> None:
        """List zones: the cheapest call that needs a working login and the Compute API."""
        with cloud_errors("list zones"):
            next(iter(self._zones.list(project=self.project, retry=RETRY, timeout=CALL_S)), None)

    # --- launching -------------------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Insert the gang's machines; if one is refused, the others are deleted again.

        Without a zone, the zones of the region are tried in turn.
        """
        if names.is_tpu(request):
            return self._tpus.launch(request)
        self._open_firewall(request.ports)
        if request.zone:
            return self._launch_in(request.zone, request)
        code = ""
        for zone in self._zones_for(request):
            try:
                return self._launch_in(zone, request)
            except CapacityError as error:
                code = error.code
        message = f"no zone of {request.region} has {request.instance_type} to give"
        raise CapacityError(message, scope="region", code=code)

    def _launch_in(self, zone: str, request: LaunchRequest) -> list[Instance]:
        operations: dict[str, compute.Operation | None] = {}
        with all_or_nothing(operations, partial(self._delete_and_wait, zone)):
            for name in names.node_names(request):
                operations[name] = self._insert(zone, name, request)
            for name, operation in operations.items():
                if operation is not None:
                    self._wait(f"insert {zone}/{name}", zone, operation)
        return self.describe([f"{zone}/{name}" for name in operations])

    def _insert(self, zone: str, name: str, request: LaunchRequest) -> compute.Operation | None:
        """Ask for one machine; None if it is there already, made by an earlier call with this token.

        Google remembers request ids for a while and answers a known one with its operation. That makes up for a
        lost reply; but a refusal from then is no answer for now, hence the second, fresh id.
        """
        body = bodies.instance_body(zone, name, request, cloud_config(request, self.config.ssh_user))
        same = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.project}/{zone}/{name}")
        for request_id in (same, uuid.uuid4()):
            call = compute.InsertInstanceRequest(
                project=self.project, zone=zone, instance_resource=body, request_id=str(request_id)
            )
            with cloud_errors(f"insert {zone}/{name}"):
                try:
                    operation = self._instances.insert_unary(request=call, timeout=CALL_S)
                except Conflict:
                    self._check_ours(zone, name, request)
                    return None
            if not (operation.status == DONE and operation.error.errors):
                break
        return operation

    def _check_ours(self, zone: str, name: str, request: LaunchRequest) -> None:
        there = self._describe(f"{zone}/{name}")
        if there.state == "gone":
            raise UnknownOutcome(f"{zone}/{name} is on its way out")
        if there.instance_type != request.instance_type or not request.tags.items() <= there.tags.items():
            raise InvalidRequest(f"token: {zone} has another machine of the name {name!r}", code="alreadyExists")

    def _wait(self, what: str, zone: str, operation: compute.Operation) -> None:
        """Wait until the operation is done: for an insert, until the zone has found room for the machine."""
        deadline = time.monotonic() + DONE_S
        with cloud_errors(what):
            while operation.status != DONE:
                if time.monotonic() > deadline:
                    raise UnknownOutcome(f"{what}: not done after {DONE_S:.0f} s")
                operation = self._operations.wait(
                    project=self.project, zone=zone, operation=operation.name, retry=RETRY, timeout=WAIT_S
                )
        error = operation_error(operation)
        if error is not None:
            raise error

    def _zones_for(self, request: LaunchRequest) -> list[str]:
        """The region's zones; if a former call with this token got machines in one, that one alone."""
        with cloud_errors("list zones"):
            zones = [zone.name for zone in self._zones.list(project=self.project, retry=RETRY, timeout=CALL_S)]
        zones = sorted(zone for zone in zones if names.region_of(zone) == request.region)
        if not zones:
            raise InvalidRequest(f"region: Google Cloud has no region {request.region!r}")
        mine = {f"{zone}/{name}": zone for zone in zones for name in names.node_names(request)}
        made = [instance.id for instance in self._list(f'name eq "{request.token}(-[0-9]+)?"')]
        return next(([mine[id_]] for id_ in made if id_ in mine), zones)

    def _open_firewall(self, ports: Sequence[int]) -> None:
        """Let SSH and the task's ports in from this machine's address, and from nowhere else."""
        source = "127.0.0.1" if self.config.endpoint else public_address()
        allowed = sorted({self.config.ssh_port, *ports})
        key = hashlib.sha256(f"{source} {allowed}".encode()).hexdigest()[:12]
        if key in self._opened:
            return
        rule = compute.Firewall(
            name=f"skyloom-{key}",
            network=bodies.NETWORK,
            direction="INGRESS",
            source_ranges=[f"{source}/32"],
            target_tags=[bodies.NETWORK_TAG],
            allowed=[compute.Allowed(I_p_protocol="tcp", ports=[str(port) for port in allowed])],
        )
        with cloud_errors("open the firewall"), suppress(Conflict):
            self._firewalls.insert_unary(project=self.project, firewall_resource=rule, timeout=CALL_S)
        self._opened.add(key)

    # --- looking ---------------------------------------------------------------------------------------------

    def find(self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None) -> list[Instance]:
        """aggregatedList by label over all zones, and the TPU nodes of all locations."""
        labels = names.labels(tags)
        machines = self._list(" AND ".join(f'labels.{key}="{value}"' for key, value in labels.items()))
        return [
            instance
            for instance in [*machines, *self._tpus.all_hosts()]
            if tags.items() <= instance.tags.items() and (regions is None or instance.region in regions)
        ]

    def _list(self, filter_: str) -> list[Instance]:
        call = compute.AggregatedListInstancesRequest(project=self.project, filter=filter_)
        with cloud_errors("list instances"):
            scopes = list(self._instances.aggregated_list(request=call, retry=RETRY, timeout=CALL_S))
        return [bodies.instance(machine) for _, scope in scopes for machine in scope.instances]

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Each machine as it is; one that is not there any more is gone."""
        return [self._tpus.describe(id_) if "/tpu/" in id_ else self._describe(id_) for id_ in ids]

    def _describe(self, id_: str) -> Instance:
        zone, name = id_.split("/")
        with cloud_errors(f"get {id_}"):
            try:
                found = bodies.instance(
                    self._instances.get(project=self.project, zone=zone, instance=name, retry=RETRY, timeout=CALL_S)
                )
            except NotFound:
                found = bodies.gone(zone, name)
            if found.state in ("stopping", "gone") and self._was_preempted(zone, name):
                found = replace(found, use_spot=True, preempted=True, reason=PREEMPTED)
        return found

    def _was_preempted(self, zone: str, name: str) -> bool:
        """The zone's operations tell of preemptions, also of machines that were deleted by them."""
        call = compute.ListZoneOperationsRequest(project=self.project, zone=zone, filter=f'operationType="{PREEMPTED}"')
        operations = self._operations.list(request=call, retry=RETRY, timeout=CALL_S)
        return any(operation.target_link.endswith(f"/instances/{name}") for operation in operations)

    # --- ending ----------------------------------------------------------------------------------------------

    def terminate(self, ids: Sequence[str]) -> None:
        """Delete machines; their disks go with them."""
        for id_ in ids:
            if "/tpu/" in id_:
                self._tpus.terminate(id_)
            else:
                self._delete(*id_.split("/"))

    def _delete(self, zone: str, name: str) -> compute.Operation | None:
        with cloud_errors(f"delete {zone}/{name}"), suppress(NotFound):
            return self._instances.delete_unary(
                project=self.project, zone=zone, instance=name, retry=RETRY, timeout=CALL_S
            )
        return None

    def _delete_and_wait(self, zone: str, made: Collection[str]) -> None:
        """Delete machines and see them gone, so that their names are free again."""
        deletions = {name: self._delete(zone, name) for name in made}
        for name, operation in deletions.items():
            if operation is not None:
                self._wait(f"delete {zone}/{name}", zone, operation)

    # --- storage ---------------------------------------------------------------------------------------------

    def storage(self, region: str) -> Storage:
        """The bucket ``<prefix>-<region>``, which nobody but the project can see."""
        return self._buckets.storage(region)

    def storage_options(self) -> Mapping[str, Any]:
        """gcsfs options: the machine's own service account on Google Cloud, nothing in the sandbox."""
        # gcsfs would ask over gRPC, for up to a minute, whether an emulator's bucket is zonal.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        if self.config.storage_endpoint:
            return {"endpoint_url": self.config.storage_endpoint, "token": "anon", "project": self.project}
        return {"project": self.project}
