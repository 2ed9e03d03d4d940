"""Google Cloud behind the contract of :mod:`sky_core.clouds.base`: VMs here, TPU VMs and Dataproc beside it.

A VM is named by its request's token, so that asking twice cannot make two. Calls go over REST; ``insert().result()``
would poll the real host whatever the endpoint, hence ``insert_unary`` and ``zoneOperations.wait``.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import compute_v1 as compute

from sky_core.clouds.at_once import at_once
from sky_core.clouds.base import (
    REFUSALS,
    Cloud,
    Found,
    Instance,
    LaunchRequest,
    Leftover,
    Leftovers,
    Loan,
    Reach,
    Storage,
    whole_gang,
)
from sky_core.clouds.gcp import bodies, dataproc, flex, names
from sky_core.clouds.gcp.account.quotas import Quotas
from sky_core.clouds.gcp.errors import RETRY, all_or_nothing, cloud_errors, operation_error
from sky_core.clouds.gcp.leftovers import Remains
from sky_core.clouds.gcp.lending import EXCHANGE, lend
from sky_core.clouds.gcp.network.rules import Network
from sky_core.clouds.gcp.session import login
from sky_core.clouds.gcp.storage import Buckets
from sky_core.clouds.gcp.tpu.nodes import Tpus
from sky_core.clouds.reservations import aimed
from sky_core.clouds.userdata import cloud_config
from sky_core.config import CloudConfig
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    NotConnected,
    Throttled,
    UnknownOutcome,
)
from sky_core.facts.managed import is_managed

log = logging.getLogger(__name__)

CALL_S = 60.0  # time-out of one call; creating calls are not repeated here, the caller does so with the same token
WAIT_S = 150.0  # zoneOperations.wait answers after two minutes at most
SETTLE_S = 120.0  # an insert whose reply is lost shows within seconds; a call takes a minute at most
DONE_S = 600.0  # an operation that is not done by then is unclear
DONE = compute.Operation.Status.DONE


class Gcp:
    """Google Cloud as the settings reach it: application default credentials, or the token that they have."""

    name = "gcp"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self.settle_s = SETTLE_S if config.settle_s is None else config.settle_s
        credentials, found = login(config)
        project = config.account or found
        if not project:
            raise NotConnected("Google Cloud: no project", cure="set account in [clouds.gcp] of config.toml")
        self.project = project
        self._credentials = credentials
        reach: dict[str, Any] = {"credentials": credentials}
        if config.endpoint:
            reach["client_options"] = {"api_endpoint": config.endpoint}
        self.reach = reach
        self._instances = compute.InstancesClient(**reach)
        self._operations = compute.ZoneOperationsClient(**reach)
        self._network = Network(config, project, reach)
        self._quotas = Quotas(project, reach)
        self._zones = compute.ZonesClient(**reach)
        self._tpus = Tpus(config, project, reach)
        self._dataproc = dataproc.Dataproc(config, project, reach, self._describe)
        self._buckets = Buckets(config, project, credentials)
        self._remains = Remains(project, reach, self._buckets)
        self._unclear: set[str] = set()  # tokens of calls of which nobody knows what they did

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
        if is_managed(request.instance_type):
            self._network.open(request.region, ())
            return self._dataproc.launch(request)
        try:
            with aimed(request):
                launched = self._launch(request)
        except REFUSALS as refusal:
            unclear = request.asked_before or request.token in self._unclear
            launched = self._made_before(request, refusal) if unclear else []
            if not launched:
                raise
        return [replace(instance, armed="cloud" if request.switch else "none") for instance in launched]

    def _made_before(self, request: LaunchRequest, refusal: CloudError) -> list[Instance]:
        """The gang that an earlier call with this token made, if it is whole; what is left of one is deleted.

        The refusal is marked as not settled: the earlier call may still be under way.
        """
        refusal.settled = False
        try:
            there = [found for found in self._by_name(request) if request.tags.items() <= found.tags.items()]
            if whole_gang(there, request):
                return there
            self.terminate([found.id for found in there])
        except CloudError as error:
            log.warning("%s: what an earlier call made could not be deleted: %s", request.token, error)
        return []

    def _by_name(self, request: LaunchRequest) -> list[Instance]:
        """Machines with the gang's names, in whatever zone of the request's region."""
        wanted = set(names.node_names(request))
        made = self._list(f'name eq "{request.token}(-[0-9]+)?"').instances
        return [
            found
            for found in sorted(made, key=lambda found: found.id)
            if found.id.rpartition("/")[2] in wanted and found.region == request.region
        ]

    def _launch(self, request: LaunchRequest) -> list[Instance]:
        gpu = names.GPUS.get(request.accelerator or "")
        if gpu and request.reservation is None and not flex.starts(request):  # those have quotas of their own
            self._quotas.refuse_none(request.region, gpu, request.use_spot)
        self._network.open(request.region, request.ports)
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
        try:
            with all_or_nothing(operations, lambda made: self._take_back(zone, operations)):
                self._insert_all(zone, request, operations)
                for name, operation in operations.items():
                    if operation is not None:
                        self._wait(f"insert {zone}/{name}", zone, operation, flex.starts(request))
        except (UnknownOutcome, Throttled):  # a throttled insert may have made the machine all the same
            self._unclear.add(request.token)
            raise
        return self.describe([f"{zone}/{name}" for name in names.node_names(request)])

    def _insert_all(self, zone: str, request: LaunchRequest, operations: dict[str, compute.Operation | None]) -> None:
        """Ask for all machines at once, and note what comes of each.

        Raises:
            CloudError: if one is not to be had. What nobody knows comes before a refusal: the same call will tell.
        """

        def insert(name: str) -> CloudError | None:
            try:
                operations[name] = self._insert(zone, name, request)
            except CloudError as error:
                return error
            return None

        errors = [error for error in at_once(insert, names.node_names(request)) if error is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, REFUSALS))

    def _insert(self, zone: str, name: str, request: LaunchRequest) -> compute.Operation | None:
        """Ask for one machine; None if it is there already, made by an earlier call with this token.

        Google remembers request ids for a while and answers a known one with its operation. That makes up for a
        lost reply; but a refusal from then is no answer for now, hence the second, fresh id.
        """
        interface, tags = self._network.interface(request.region), self._network.tags(request.region)
        script = cloud_config(request, self.config.ssh_user)
        body = bodies.instance_body(zone, name, request, script, interface, self.config.machine_identity, tags)
        if flex.starts(request):
            body = flex.queued(body, request.queue_s or 0.0)
        same = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.project}/{zone}/{name}")
        for request_id in (same, uuid.uuid4()):
            there = {"project": self.project, "zone": zone}
            call = compute.InsertInstanceRequest(**there, instance_resource=body, request_id=str(request_id))
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

    def _wait(self, what: str, zone: str, operation: compute.Operation, queued: bool = False) -> None:
        """Wait until the operation is done: for an insert, until the zone has found room for the machine.

        One that may be ``queued`` is accepted once its machine is there, waiting.
        """
        deadline = time.monotonic() + DONE_S
        with cloud_errors(what):
            while operation.status != DONE:
                if queued and self._describe(f"{zone}/{operation.target_link.rpartition('/')[2]}").queued:
                    return
                time.sleep(self.config.min_poll_s if queued else 0.0)
                if time.monotonic() > deadline:
                    raise UnknownOutcome(f"{what}: not done after {DONE_S:.0f} s")
                ask = self._operations.get if queued else self._operations.wait
                operation = ask(project=self.project, zone=zone, operation=operation.name, retry=RETRY, timeout=WAIT_S)
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
        return next(([made.zone] for made in self._by_name(request) if made.zone), zones)

    def let_in(self, ids: Sequence[str]) -> None:
        """See :meth:`Gated.let_in`."""
        for region in {names.region_of(id_.partition("/")[0]) for id_ in ids}:
            self._network.let_in(region)

    # --- looking ---------------------------------------------------------------------------------------------

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        """aggregatedList by label over all zones, and the TPU nodes of all locations."""
        labels = names.labels(tags)
        asks: dict[str, Callable[[], Found]] = {
            "compute": lambda: self._list(" AND ".join(f'labels.{key}="{value}"' for key, value in labels.items())),
            "tpu": self._tpus.all_hosts,
            "dataproc": lambda: Found(tuple(self._dataproc.find(tags, regions or self._regions()))),
        }
        for api in set(asks) - names.apis(instance_type):
            asks.pop(api)
        looks, refusals = list[Found](), {}
        for api, ask in asks.items():
            try:
                looks.append(ask())
            except CloudError as error:
                refusals[api] = error
        if not looks and any(isinstance(error, AuthError) for error in refusals.values()):
            raise next(iter(refusals.values()))
        return bodies.sought(looks, {api: str(e) for api, e in refusals.items()}, tags, regions, instance_type)

    def _regions(self) -> list[str]:
        with cloud_errors("list zones"):
            zones = list(self._zones.list(project=self.project, retry=RETRY, timeout=CALL_S))
        return sorted({names.region_of(zone.name) for zone in zones})

    def _list(self, filter_: str) -> Found:
        call = compute.AggregatedListInstancesRequest(project=self.project, filter=filter_)
        with cloud_errors("list instances"):
            scopes = list(self._instances.aggregated_list(request=call, retry=RETRY, timeout=CALL_S))
        warnings: dict[str, Any] = {name.rpartition("/")[2]: scope.warning for name, scope in scopes}
        return Found(
            tuple(bodies.instance(machine) for _, scope in scopes for machine in scope.instances),
            {zone: warning.message for zone, warning in warnings.items() if warning.code == "UNREACHABLE"},
        )

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Each machine as it is; one that is not there any more is gone. A TPU node is told host by host."""
        return [instance for look in at_once(self._look, ids) for instance in look]

    def _look(self, id_: str) -> list[Instance]:
        if dataproc.is_cluster(id_):
            return [self._dataproc.describe(id_)]
        return self._tpus.describe(id_) if Tpus.has(id_) else [self._describe(id_)]

    def _describe(self, id_: str) -> Instance:
        zone, name = id_.split("/")
        with cloud_errors(f"get {id_}"):
            try:
                found = bodies.instance(
                    self._instances.get(project=self.project, zone=zone, instance=name, retry=RETRY, timeout=CALL_S)
                )
            except NotFound:
                found = bodies.gone(zone, name)
            if found.state in ("stopping", "gone"):
                history = self._history(zone, name)
                found = flex.why_none(bodies.ended_by(found, history), history)
        return found

    def _history(self, zone: str, name: str) -> list[compute.Operation]:
        """What was done to a machine and by it, as the zone has it on record, also after it is gone."""
        target = f"{bodies.API}/projects/{self.project}/zones/{zone}/instances/{name}"
        call = compute.ListZoneOperationsRequest(project=self.project, zone=zone, filter=f'targetLink="{target}"')
        return list(self._operations.list(request=call, retry=RETRY, timeout=CALL_S))

    # --- ending ----------------------------------------------------------------------------------------------

    def terminate(self, ids: Sequence[str]) -> None:
        """Delete machines; their disks go with them."""

        def end(id_: str) -> None:
            if dataproc.is_cluster(id_):
                self._dataproc.terminate(id_)
            elif Tpus.has(id_):
                self._tpus.terminate(id_)
            else:
                self._delete(*id_.split("/"))

        at_once(end, ids)

    def _delete(self, zone: str, name: str) -> compute.Operation | None:
        with cloud_errors(f"delete {zone}/{name}"), suppress(NotFound):
            return self._instances.delete_unary(
                project=self.project, zone=zone, instance=name, retry=RETRY, timeout=CALL_S
            )
        return None

    def _take_back(self, zone: str, operations: Mapping[str, compute.Operation | None]) -> None:
        """Delete a gang's machines and see them gone, so that their names are free again.

        An insert that is still under way is waited for: what is not there yet cannot be deleted.
        """
        for name, operation in operations.items():
            if operation is not None:
                with suppress(*REFUSALS):
                    self._wait(f"insert {zone}/{name}", zone, operation, queued=True)
        deletions = at_once(lambda name: self._delete(zone, name), list(operations))
        for name, operation in zip(operations, deletions, strict=True):
            if operation is not None:
                self._wait(f"delete {zone}/{name}", zone, operation)

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        """See :mod:`sky_core.clouds.gcp.leftovers`."""
        return self._remains.find(tags)

    def remove(self, leftover: Leftover) -> None:
        """Delete a disk or a firewall rule."""
        self._remains.remove(leftover)
        if leftover.kind == "firewall":
            self._network.forget()

    # --- storage ---------------------------------------------------------------------------------------------

    def storage(self, region: str) -> Storage:
        """The bucket ``<prefix>-<region>``, which nobody but the project can see."""
        return self._buckets.storage(region)

    def storage_options(self) -> Mapping[str, Any]:
        """gcsfs options: our own login, which is not the one that gcsfs would find on a machine of Google's."""
        # gcsfs would ask over gRPC, for up to a minute, whether an emulator's bucket is zonal.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        return {**self._place(), "token": self._credentials}

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        """See :mod:`sky_core.clouds.gcp.lending`. A service account of the settings needs none."""
        if self.config.machine_identity and machine == self.name:
            return Loan(self._place())
        exchange = f"{self.config.endpoint}/v1/token" if self.config.endpoint else EXCHANGE
        loan = lend(self._credentials, reaches, exchange)
        return Loan({**loan.options, **self._place()}, loan.ends_at)

    def _place(self) -> dict[str, Any]:
        endpoint = self.config.storage_endpoint
        return {"project": self.project, **({"endpoint_url": endpoint} if endpoint else {})}


if TYPE_CHECKING:
    _keeps_the_contract: type[Cloud] = Gcp
