"""Azure behind the contract of :mod:`sky_core.clouds.base`.

A cluster is one resource group, named after its token: its machines with their disks, interfaces and addresses are in
it, and deleting it deletes all. The group's tags say what it is; ``skyloom-launched`` is set once all machines were
allocated, so that a Spot machine missing from then on was evicted and is not made again.

Machines go through azure-mgmt-compute, all else through azure-mgmt-resource's generic client: importing
azure-mgmt-network would cost the driver another 140 MB of memory.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from sky_core.clouds.at_once import at_once
from sky_core.clouds.azure import bodies, looks
from sky_core.clouds.azure.account.quotas import Quotas
from sky_core.clouds.azure.errors import NOT_REGISTERED, cloud_errors, namespace_of
from sky_core.clouds.azure.network import API as NETWORK_API
from sky_core.clouds.azure.network import Surroundings
from sky_core.clouds.azure.reservations import Reservations
from sky_core.clouds.azure.session import Session
from sky_core.clouds.azure.storage import AzureStorage
from sky_core.clouds.base import (
    REFUSALS,
    TAG_CLUSTER,
    TAG_OWNER,
    Armed,
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
from sky_core.clouds.reservations import aimed
from sky_core.config import CloudConfig
from sky_core.errors import CapacityError, CloudError, InvalidRequest, Throttled, UnknownOutcome

log = logging.getLogger(__name__)

IDENTITY_API = "2023-01-31"
ROLES_API = "2022-04-01"
ALLOCATION_TIMEOUT_S = 600.0
SETTLE_S = 300.0  # deleting a group that a refused launch has made takes minutes

ID = re.compile(
    r"^/subscriptions/[^/]+/resourceGroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.Compute/virtualMachines/(?P<name>[^/]+))?$",
    re.IGNORECASE,
)
MISSING = {"NotFound", "ResourceNotFound", "ResourceGroupNotFound"}

T = TypeVar("T")


class Azure:
    """Azure, one subscription of it."""

    name = "azure"

    def __init__(self, config: CloudConfig) -> None:
        self._config = config
        self.settle_s = SETTLE_S if config.settle_s is None else config.settle_s
        session = Session(config)
        self._subscription = session.subscription
        self._machines = session.compute.virtual_machines
        self._groups, self._resources = session.resources.resource_groups, session.resources.resources
        self._providers = session.resources.providers
        self._quotas = Quotas(session.compute.usage, self._providers)
        self._reservations = Reservations(session.compute, session.subscription)
        self._network = Surroundings(config, self._resources, self._id)
        self._storage = AzureStorage(config, session.subscription, session.resources, session.credential)

    def check(self) -> None:
        with cloud_errors():
            next(iter(self._groups.list(top=1)), None)

    # --- launch ----------------------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """See :meth:`Cloud.launch`. After Throttled and UnknownOutcome what was made stays, to be taken up again."""
        try:
            with aimed(request), cloud_errors(zoned=bool(bodies.zones(request))):
                bodies.image(request)  # before anything is made for a machine that has none
                group = self._group(request.token)
                if group is None or looks.TAG_LAUNCHED not in (group.tags or {}) or looks.is_deleting(group):
                    self._create(replace(request, tags=looks.tags_of(request)))
        except REFUSALS as refusal:
            self._register(refusal)
            there = self._made_before(request, refusal)
            if not there:
                raise
            return there
        armed = self._armed(request.token)
        return [replace(instance, armed=armed) for instance in self.describe(self._ids(request))]

    def _register(self, refusal: CloudError) -> None:
        """Have the subscription registered for what it was refused for lack of that: once, in minutes.

        Raises:
            Throttled: if that is under way; what was made stays until then.
        """
        if refusal.code != NOT_REGISTERED:
            return
        namespace = namespace_of(str(refusal))
        try:
            with cloud_errors():
                self._providers.register(namespace)
        except CloudError as error:
            log.warning("%s cannot be registered: %s", namespace, error)
        else:
            raise Throttled(f"{namespace} is being registered in the subscription", code=NOT_REGISTERED) from refusal

    def let_in(self, ids: Sequence[str]) -> None:
        """See :meth:`Gated.let_in`: each cluster has a firewall of its own."""
        with cloud_errors():
            for name in {match["group"] for match in map(ID.match, ids) if match}:
                if group := self._group(name):
                    self._network.let_in(group)

    def _armed(self, token: str) -> Armed:
        with cloud_errors():
            group = self._group(token)
        return "machine" if group is not None and (group.tags or {}).get(looks.TAG_ARMED) == "machine" else "none"

    def _made_before(self, request: LaunchRequest, refusal: CloudError) -> list[Instance]:
        """The gang that an earlier call with this token made, if it is whole; what is left of one is deleted.

        The refusal is settled only if there was not even a group: deleting one takes minutes, and may be refused.
        """
        refusal.settled = False
        try:
            with cloud_errors():
                group = self._group(request.token)
                if group is None:
                    refusal.settled = not request.asked_before
                elif not looks.is_deleting(group) and (group.tags or {}).get(TAG_CLUSTER) == group.name:
                    there = self.describe(self._ids(request)) if request.asked_before else []
                    if whole_gang(there, request):
                        return there
                    self._delete_group(request.token)
        except CloudError as error:
            log.warning("resource group %s could not be deleted: %s", request.token, error)
        return []

    def _create(self, request: LaunchRequest) -> None:
        """Make the group, in it the network and the addresses, then the interfaces, then the machines."""
        token, names = request.token, looks.names_of(request)
        if request.reservation is not None:  # it has its quota
            self._reservations.refuse_full(request)
        elif request.accelerator:
            self._quotas.refuse_none(request.region, request.instance_type, request.use_spot)
        self._groups.create_or_update(token, {"location": request.region, "tags": dict(request.tags)})
        self._network.make(request, names)
        identity = self._identity(request) if request.switch else None
        able = at_once(lambda name: self._allocate(request, name, identity), names)
        armed: Armed = "machine" if identity and all(able) else "none"
        tags = {**request.tags, looks.TAG_LAUNCHED: str(int(time.time())), looks.TAG_ARMED: armed}
        self._groups.update(token, {"tags": tags})

    def _identity(self, request: LaunchRequest) -> str | None:
        """Make the identity by which each machine can end itself; None if that cannot be had.

        Powered off by a timer, a machine would go on costing. The identity is there before any machine is, with its
        role: whoever dies while machines are made leaves none that cannot. Only who may assign roles (Owner, User
        Access Administrator) can grant that; a Contributor cannot.

        Raises:
            Throttled: while the subscription is being registered for identities.
        """
        group, body = self._id(request.token), bodies.identity(request)
        path = f"{group}/providers/{bodies.IDENTITY}"
        try:
            with cloud_errors():
                made: Any = self._resources.begin_create_or_update_by_id(path, body, api_version=IDENTITY_API).result()
                principal = str(made.properties["principalId"])
                named = uuid.uuid5(uuid.NAMESPACE_URL, f"{path}/{principal}")
                assignment = f"{group}/providers/Microsoft.Authorization/roleAssignments/{named}"
                role = bodies.role(principal, self._subscription)
                self._resources.begin_create_or_update_by_id(assignment, role, api_version=ROLES_API).result()
        except CloudError as error:
            self._register(error)
            log.warning("%s: its machines cannot end themselves: %s", request.token, error)
            return None
        return path

    def _allocate(self, request: LaunchRequest, name: str, identity: str | None) -> bool:
        """Ask for one machine, unless an earlier call did, and wait until it has hardware or was refused.

        Returns whether it has an identity: an earlier call may have made it without.
        """
        interface = self._network.interface(request.token, name)
        identities = [one for one in (identity, self._config.machine_identity) if one]
        body: Any = bodies.machine(request, name, interface, self._config.ssh_user, identities)
        only_new = {"If-None-Match": "*"}
        try:
            self._machines.begin_create_or_update(request.token, name, body, headers=only_new, polling=False)
        except HttpResponseError as error:
            if error.status_code != 412:  # Precondition Failed: it exists
                raise
        deadline = time.monotonic() + ALLOCATION_TIMEOUT_S
        while time.monotonic() < deadline:
            machine = _found(lambda: self._machines.get(request.token, name, expand="instanceView"))
            if machine is None:
                raise CapacityError(f"Azure: {name} was evicted while it was created", code="Evicted")
            if looks.is_allocated(machine, zoned=bool(bodies.zones(request))):
                return machine.identity is not None
            time.sleep(self._config.min_poll_s)
        raise UnknownOutcome(f"Azure: {name} is still being created after {ALLOCATION_TIMEOUT_S:.0f} s")

    # --- look ------------------------------------------------------------------------------------------------

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        """See :meth:`Cloud.find`. A group left without machines, its network still there, is told as ``stopping``."""
        with cloud_errors():
            groups = [
                group
                for group in self._tagged_groups(tags)
                if (regions is None or group.location in regions) and tags.items() <= (group.tags or {}).items()
            ]
        found: list[Instance] = []
        unreachable: dict[str, str] = {}
        for group, look in zip(groups, at_once(self._try_group, groups), strict=True):
            if isinstance(look, CloudError):
                unreachable[group.location] = str(look)
            else:
                found += look
        alike = (i for i in found if i.state != "gone" and instance_type in (None, i.instance_type))
        return Found(tuple(alike), unreachable)

    def _try_group(self, group: Any) -> list[Instance] | CloudError:
        try:
            with cloud_errors():
                return self._in_group(group)
        except CloudError as error:
            return error

    def _tagged_groups(self, tags: Mapping[str, str]) -> Iterable[Any]:
        if TAG_CLUSTER in tags:
            group = self._group(tags[TAG_CLUSTER])
            return [] if group is None else [group]
        if not tags:
            return self._groups.list(filter=f"tagName eq '{TAG_OWNER}'")
        name, value = next(iter(tags.items()))
        return self._groups.list(filter=f"tagName eq '{name}' and tagValue eq '{value}'")

    def _in_group(self, group: Any) -> list[Instance]:
        machines = _found(lambda: list(self._machines.list(group.name))) or []
        found = [self._look(self._id(group.name, str(machine.name))) for machine in machines]
        if not machines and not looks.is_deleting(group):
            found.append(looks.remains(group, self._id(group.name), "stopping", "its resource group has no machine"))
        return found

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        with cloud_errors():
            return at_once(self._look, ids)

    def _look(self, id_: str) -> Instance:
        match = ID.match(id_)
        if match is None or match["name"] is None:
            return Instance(id_, self.name, "", None, "", use_spot=False, state="gone", reason="not an id of ours")
        machine = _found(lambda: self._machines.get(match["group"], match["name"], expand="instanceView"))
        if machine is None:
            return self._missing(id_, match["group"], match["name"])
        expand = {"$expand": "ipConfigurations/publicIPAddress"}
        interface = _found(
            lambda: self._resources.get_by_id(
                self._network.interface(match["group"], match["name"]), api_version=NETWORK_API, params=expand
            )
        )
        return looks.instance(id_, machine, interface)

    def _missing(self, id_: str, group_name: str, name: str) -> Instance:
        group = self._group(group_name)
        if group is None:
            return Instance(id_, self.name, "", None, "", use_spot=False, state="gone", reason="no such machine")
        tags = group.tags or {}
        ours = looks.is_deleting(group) or looks.rank_of(name) in tags.get(looks.TAG_ENDED, "").split()
        evicted = tags.get(looks.TAG_MARKET) == "spot" and looks.TAG_LAUNCHED in tags and not ours
        reason = "deleted" if ours else "evicted" if evicted else "no such machine"
        return replace(looks.remains(group, id_, "gone", reason), preempted=evicted)

    def _group(self, name: str) -> Any:
        return _found(lambda: self._groups.get(name))

    # --- terminate -------------------------------------------------------------------------------------------

    def terminate(self, ids: Sequence[str]) -> None:
        """See :meth:`Cloud.terminate`. Returns once Azure has taken the order; nothing is billed for long after."""
        named: dict[str, set[str]] = {}
        for match in filter(None, map(ID.match, ids)):
            named.setdefault(match["group"], set()).add(match["name"] or "")
        with cloud_errors():
            at_once(lambda item: self._end(*item), list(named.items()))

    def _end(self, group_name: str, names: set[str]) -> None:
        """End these machines of a group, or with the name "" or all names in it the whole group."""
        group = self._group(group_name)
        if group is None or looks.is_deleting(group) or (group.tags or {}).get(TAG_CLUSTER) != group.name:
            return
        machines = {machine.name for machine in _found(lambda: list(self._machines.list(group_name))) or []}
        if "" in names or machines <= names:
            self._delete_group(group_name)
            return
        ended = sorted({*group.tags.get(looks.TAG_ENDED, "").split(), *map(looks.rank_of, names & machines)})
        self._groups.update(group_name, {"tags": {**group.tags, looks.TAG_ENDED: " ".join(ended)}})
        for name in names & machines:
            self._machines.begin_delete(group_name, name, force_deletion=True, polling=False)

    def _delete_group(self, name: str) -> None:
        """Machines first and without a shutdown, so that they stop costing now; the rest follows within minutes."""
        forced = "Microsoft.Compute/virtualMachines"
        with cloud_errors():
            _found(lambda: self._groups.begin_delete(name, force_deletion_types=forced, polling=False))

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        """The storage accounts; all else is in a cluster's group, which :meth:`find` tells of while it is there."""
        with cloud_errors():
            return Leftovers(tuple(self._storage.leftovers()))

    def remove(self, leftover: Leftover) -> None:
        """Refused: there are no leftovers but those that hold data."""
        raise InvalidRequest(f"{leftover.id} holds data: delete it by hand")

    # --- storage ---------------------------------------------------------------------------------------------

    def storage(self, region: str) -> Storage:
        return self._storage.container(region)

    def storage_options(self) -> Mapping[str, Any]:
        return self._storage.options()

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        return self._storage.lend(reaches, machine)

    # --- names -----------------------------------------------------------------------------------------------

    def _ids(self, request: LaunchRequest) -> list[str]:
        return [self._id(request.token, name) for name in looks.names_of(request)]

    def _id(self, group: str, name: str = "") -> str:
        id_ = f"/subscriptions/{self._subscription}/resourceGroups/{group}"
        return f"{id_}/providers/Microsoft.Compute/virtualMachines/{name}" if name else id_


def _found(ask: Callable[[], T]) -> T | None:
    """The answer, or None if there is no such thing. A missing subscription stays an error."""
    try:
        return ask()
    except ResourceNotFoundError as error:
        if error.error is not None and error.error.code in MISSING:
            return None
        raise


if TYPE_CHECKING:
    _keeps_the_contract: type[Cloud] = Azure
