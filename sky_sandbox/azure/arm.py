"""Azure Resource Manager on loopback, as far as azure-mgmt-compute, -network and -resource need it.

A generic store of ARM resources, with the meaning of resource groups and virtual machines on top. What the real
service does and clients must live with is kept: creations are long-running operations, a failed allocation leaves
the VM with its NIC and disk behind, subscription-wide lists spell resource groups in capitals, an evicted Spot VM
(policy ``Delete``) is simply no longer there.

Faults (:class:`~sky_sandbox.world.Fault`) carry Azure's codes. ``AllocationFailed`` and its like fail a creation
after it was accepted, others refuse it at once; ``SkuNotAvailable@async`` and ``AllocationFailed@sync`` turn it round.
``seconds`` beside ``TooManyRequests`` is the wait that it asks for.
"""

from __future__ import annotations

import base64
import copy
import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from sky_sandbox.azure import reservations, resources
from sky_sandbox.azure.login import check_login
from sky_sandbox.azure.providers import Providers
from sky_sandbox.azure.resources import ADDRESS, DISK, FIREWALL, IDENTITY, NETWORK, NIC, VM, Entry, Wanted
from sky_sandbox.azure.wire import (
    ASYNCHRONOUS,
    OPERATION,
    ArmError,
    Body,
    Call,
    Operation,
    Operations,
    no_group,
    page,
    shout,
)
from sky_sandbox.ledger import Entry as LedgerEntry
from sky_sandbox.ledger import Kind
from sky_sandbox.logins import Logins
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import CALLER, Fault, Refused, World

ALLOCATION_S = DELETION_S = 0.2  # from the accepted request to an allocated machine, or to the failure or end of it
METERED: Mapping[str, Kind] = {ADDRESS: "address", DISK.lower(): "disk", NIC: "nic"}

LIST_GROUPS = re.compile(r"^/subscriptions/[^/]+/resourcegroups$")
GROUP = re.compile(r"^/subscriptions/[^/]+/resourcegroups/[^/]+$")
LIST_RESOURCES = re.compile(r"^(?P<scope>/subscriptions/[^/]+(?:/resourcegroups/[^/]+)?)/resources$")
LIST_ALL = re.compile(r"^(?P<scope>/subscriptions/[^/]+)/providers/(?P<type>[^/]+/[^/]+)$")
RESOURCE = re.compile(r"^(?P<group>/subscriptions/[^/]+/resourcegroups/[^/]+)/providers/(?P<path>[^/]+(?:/[^/]+)+)$")


@dataclass
class Arm:
    """All resources of all subscriptions, by lower-case id. One lock, never held while a machine is killed."""

    world: World
    logins: Logins
    lock: threading.RLock = field(default_factory=threading.RLock)
    groups: dict[str, Body] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    operations: Operations = field(default_factory=Operations)
    providers: Providers = field(default_factory=Providers)

    def __post_init__(self) -> None:
        self.world.listeners.append(self._ended)
        self.world.gates["azure"] = lambda machine, *who: resources.lets_in(self.entries, machine.id, *who)

    def handle(self, call: Call) -> Response:
        """Answer one request, after the fault that was injected for it, and log it if it changes anything."""
        about = {"token": call.group} if call.group else {}
        CALLER.set(call.headers.get("authorization", "").removeprefix("Bearer "))
        fault, code = None, ""
        try:
            check_login(call, self.logins, self.entries)
            if match := OPERATION.match(call.key):
                return self.operations.tell(match["style"], match["id"])
            about |= resources.about_call(call)
            self.providers.check(self.world.account, call)
            fault = self.world.fault("azure", call.action, **about)
            late = self._suffer(call, fault, about)
            with self.lock:
                response = self._route(call, late)
        except ArmError as error:
            response, code = error.response(), error.code
        if call.method in ("PUT", "PATCH", "POST", "DELETE"):
            outcome = {201: "created", 412: "exists"}.get(response.status_code, "refused" if code else "accepted")
            self.world.record("api", None, cloud="azure", action=call.action, outcome=outcome, code=code, **about)
        if fault is not None and fault.kind == "lost":
            return ArmError(fault.code or "GatewayTimeout", about=about).response()
        return response

    def _suffer(self, call: Call, fault: Fault | None, about: Mapping[str, str]) -> Body | None:
        """Let an injected fault take effect; the error, if it is to fail the creation of a VM after its acceptance."""
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is None or fault.kind != "error":
            return None
        code, _, mode = fault.code.partition("@")
        error = ArmError(code, about=about)
        error.retry_after_s = fault.seconds or error.retry_after_s
        if call.action == "virtualMachines.put" and (mode == "async" or (code in ASYNCHRONOUS and mode != "sync")):
            return error.body
        raise error

    def _ended(self, machine: Machine) -> None:
        """Forget a Spot VM that an eviction has deleted, with what goes with it."""
        if machine.cloud == "azure" and machine.state == "gone" and machine.cause == "preempted":
            with self.lock:
                for key in [key for key, entry in self.entries.items() if entry.machine is machine]:
                    self._remove(key)

    def _route(self, call: Call, late: Body | None) -> Response:
        if told := self.providers.answer(self.world.account, call):
            return told
        if told := reservations.answer(self.world, call):
            return told
        if LIST_GROUPS.match(call.key):
            return page(group for group in self.groups.values() if call.wants(group))
        if GROUP.match(call.key):
            return self._group(call)
        if match := LIST_RESOURCES.match(call.key):
            return page(entry.body for entry in self._inside(match["scope"]).values() if call.wants(entry.body))
        if match := LIST_ALL.match(call.key):
            found = [entry for entry in self._inside(match["scope"]).values() if entry.type == match["type"]]
            return page(shout(self._view(entry, call)) for entry in found)
        if match := RESOURCE.match(call.key):
            if match["group"] not in self.groups:
                raise no_group(call)
            return self._resource(call, match["group"], match["path"].split("/"), late)
        raise ArmError("InvalidParameter", f"the sandbox does not know {call.path}")

    def _inside(self, scope: str) -> dict[str, Entry]:
        return {key: entry for key, entry in self.entries.items() if key.startswith(scope + "/")}

    # --- resource groups -------------------------------------------------------------------------------------

    def _group(self, call: Call) -> Response:
        group = self.groups.get(call.key)
        if call.method == "PUT":
            return self._put_group(call, group)
        if call.method == "HEAD":
            return Response(status_code=404 if group is None else 204)
        if group is None:
            raise no_group(call)
        if call.method == "PATCH":
            group["tags"] = call.body.get("tags", group.get("tags", {}))
        if call.method == "DELETE":
            group["properties"] = {"provisioningState": "Deleting"}
            threading.Thread(target=self._delete_group, args=(call, group), daemon=True).start()
            ended = Operation(
                lambda: not resources.is_deleting(group),
                lambda: resources.blocked(group) if call.key in self.groups else None,
            )
            return self.operations.accept(call, ended)
        return JSONResponse(group)

    def _put_group(self, call: Call, group: Body | None) -> Response:
        if group is not None:
            resources.reject_deleting(group)
            if group["location"] != call.body["location"]:
                raise ArmError("InvalidResourceGroupLocation", f"The group already exists in '{group['location']}'.")
        self.groups[call.key] = {
            **call.body,
            "id": call.path,
            "name": call.group,
            "type": "Microsoft.Resources/resourceGroups",
            "properties": {"provisioningState": "Succeeded"},
        }
        return JSONResponse(self.groups[call.key], 200 if group else 201)

    def _delete_group(self, call: Call, group: Body) -> None:
        if "forceDeletionTypes" not in call.query:
            time.sleep(DELETION_S)  # the orderly way: the machine is asked to shut down first
        for entry in self._inside(call.key).values():
            if entry.machine is not None:
                self.world.stop(entry.machine.id)
        time.sleep(DELETION_S)
        with self.lock:
            if self.groups.get(call.key) is group:
                held = resources.networks_held(self.entries, call.key)
                for key in self._inside(call.key).keys() - held:
                    self._remove(key)
                if not held:
                    del self.groups[call.key]
                group["properties"] = {"provisioningState": "Succeeded"}

    # --- resources of any type -------------------------------------------------------------------------------

    def _resource(self, call: Call, group: str, path: list[str], late: Body | None) -> Response:
        if call.method == "GET" and len(path) == 2:
            return page(self._view(entry, call) for entry in self._inside(call.key).values())
        if call.method == "PUT":
            resources.reject_deleting(self.groups[group])
            return self._put_machine(call, late) if "/".join(path[:2]) == VM else self._put(call)
        entry = self.entries.get(call.key.rpartition("/")[0] if call.method == "POST" else call.key)
        if entry is None:
            if call.method == "DELETE":
                return Response(status_code=204)
            raise ArmError("ResourceNotFound", f"The Resource '{call.path}' was not found.")
        if call.method == "POST":
            return self._act(call, entry)
        if call.method == "DELETE":
            return self._delete(call, entry)
        if call.method == "PATCH":
            entry.body["tags"] = call.body.get("tags", entry.body.get("tags", {}))
        return JSONResponse(self._view(entry, call))

    def _put(self, call: Call) -> Response:
        known, entry = self.entries.get(call.key), Entry.put(call.path, call.body)
        if entry.type == ADDRESS:
            entry.properties["ipAddress"] = known.properties["ipAddress"] if known else self.world.address()
        if entry.type == IDENTITY:
            fresh = {"principalId": str(uuid.uuid4()), "clientId": str(uuid.uuid4())}
            entry.properties.update({name: known.properties[name] if known else id_ for name, id_ in fresh.items()})
        if entry.type == NIC:
            for config in entry.properties["ipConfigurations"]:
                config["properties"]["privateIPAddress"] = self._private_address(config["properties"])
        if entry.type == NETWORK:
            for subnet in entry.properties.get("subnets", []):
                subnet["id"] = f"{call.path}/subnets/{subnet['name']}"
        self._keep(call.key, entry)
        if entry.type == FIREWALL:
            self.world.mind_the_gates()
        return self.operations.accept(call, Operation(done=lambda: True), 200 if known else 201, entry.body)

    def _keep(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        if kind := METERED.get(entry.type):
            tags = entry.body.get("tags") or self.groups[key.partition("/providers/")[0]].get("tags", {})
            self.world.ledger.begin(
                LedgerEntry("azure", kind, entry.body["id"], entry.body.get("location", ""), tags, self.world.clock())
            )

    def _private_address(self, config: Body) -> str:
        """A machine of the sandbox has one loopback address, for inside and outside."""
        if "subnet" in config:
            self._reject_missing([resources.network_of(config)])
        if "publicIPAddress" not in config:
            return self.world.address()
        id_ = config["publicIPAddress"]["id"]
        self._reject_missing([id_.lower()])
        return str(self.entries[id_.lower()].properties["ipAddress"])

    def _reject_missing(self, keys: list[str]) -> None:
        for key in set(keys) - set(self.entries):
            raise ArmError("InvalidResourceReference", f"Resource {key} referenced by the request was not found.")

    def _delete(self, call: Call, entry: Entry) -> Response:
        if entry.type == NIC and any(call.key in other.references() for other in self.entries.values()):
            raise ArmError("NicInUse", f"Network Interface {call.path} is used by an existing VM.")
        entry.properties["provisioningState"] = "Deleting"
        threading.Thread(target=self._finish_deletion, args=(call.key, entry), daemon=True).start()
        return self.operations.accept(call, Operation(done=lambda: self.entries.get(call.key) is not entry))

    def _finish_deletion(self, key: str, entry: Entry) -> None:
        if entry.machine is not None:
            self.world.stop(entry.machine.id)
            time.sleep(DELETION_S)
        with self.lock:
            if self.entries.get(key) is entry:
                self._remove(key)

    def _remove(self, key: str) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None and (kind := METERED.get(entry.type)):
            self.world.ledger.end("azure", kind, entry.body["id"], self.world.clock())
        for other in entry.owned() if entry else []:
            self._remove(other)

    def _view(self, entry: Entry, call: Call) -> Body:
        expand = call.query.get("$expand", "").lower()
        if entry.type == VM:
            state, codes = entry.statuses()
            message = entry.error["message"] if entry.error else ""
            statuses = [{"code": code, "message": message} for code in codes]
            if codes[0] == "ProvisioningState/succeeded" and (changed := entry.changed_at()):
                statuses[0]["time"] = datetime.fromtimestamp(changed, UTC).isoformat()
            told = {"instanceView": {"statuses": statuses}} if "instanceview" in expand else {}
            return entry.body | {"properties": {**entry.properties, "provisioningState": state, **told}}
        if entry.type == NIC and "publicipaddress" in expand:
            body = copy.deepcopy(entry.body)
            for config in body["properties"]["ipConfigurations"]:
                reference = config["properties"].get("publicIPAddress", {"id": ""})
                if address := self.entries.get(reference["id"].lower()):
                    config["properties"]["publicIPAddress"] = address.body
            return body
        return entry.body

    # --- virtual machines ------------------------------------------------------------------------------------

    def _put_machine(self, call: Call, late: Body | None) -> Response:
        known = self.entries.get(call.key)
        if known is not None:
            return self._update_machine(call, known)
        entry = Entry.put(call.path, call.body)
        entry.due, entry.error = time.monotonic() + ALLOCATION_S, late
        created = datetime.now(UTC).isoformat()
        entry.properties.update(provisioningState="Creating", vmId=str(uuid.uuid4()), timeCreated=created)
        self._reject_missing([*entry.references(), *resources.identities(entry)])
        resources.identify(entry, self.entries)
        resources.reject_unknown_image(entry)
        user_data = base64.b64decode(entry.properties["osProfile"].pop("customData", "")).decode()
        if entry.error is None:
            try:
                entry.machine = self._allocate(call, entry, user_data)
            except ArmError as error:
                if error.code not in ASYNCHRONOUS:
                    raise
                entry.error = error.body
        disk = resources.os_disk(entry)
        self.entries[call.key] = entry
        self._keep(disk.body["id"].lower(), disk)
        settled = Operation(done=lambda: entry.statuses()[0] != "Creating", error=lambda: entry.error)
        return self.operations.accept(call, settled, 201, self._view(entry, call))

    def _update_machine(self, call: Call, entry: Entry) -> Response:
        if call.headers.get("if-none-match") == "*":
            raise ArmError("PreconditionFailed", f"The resource {call.path} exists already.")
        if call.body["properties"]["hardwareProfile"] != entry.properties["hardwareProfile"]:
            raise ArmError("PropertyChangeNotAllowed", "Changing property 'hardwareProfile' is not allowed.")
        entry.body["tags"] = call.body.get("tags", {})
        return JSONResponse(self._view(entry, call))

    def _allocate(self, call: Call, entry: Entry, user_data: str) -> Machine:
        wanted, nic = Wanted.parse(call.body), next(iter(entry.references()))
        size, extra = wanted.size, {"name": entry.body["name"], "group": call.group, "vm_id": entry.properties["vmId"]}
        extra["image"] = resources.image_of(entry)
        if "identity" in entry.body:
            extra["identities"] = resources.principals(entry, self.entries)
        machine = Machine(
            id=call.path,
            cloud="azure",
            region=wanted.region,
            zone=wanted.zone,
            type=size.name,
            market=wanted.market,
            vcpus=size.vcpus,
            tags=dict(call.body.get("tags", {})),
            ip=self.entries[nic].properties["ipConfigurations"][0]["properties"]["privateIPAddress"],
            user_data=user_data,
            created_at=self.world.clock(),
            extra=extra,
            pools=size.pools,
            rests=resources.rests(entry),
        )
        place = ("azure", wanted.region, wanted.zone, size.name, wanted.market)
        with self.world.lock:
            machine.reservation = reservations.enter(self.world, call.body, wanted)
            try:
                if not machine.reservation:
                    self.world.admit(*place, size.vcpus, pools=size.pools)
            except Refused as refused:
                raise wanted.refusal(refused) from None
            self.world.start(machine)
        return machine

    def _act(self, call: Call, entry: Entry) -> Response:
        """The actions that resources have besides being put, read and deleted."""
        if call.action == "storageAccounts.listKeys":
            return JSONResponse({"keys": [{"keyName": "key1", "value": base64.b64encode(b"sandbox").decode()}]})
        if call.action == "virtualMachines.deallocate":
            return self._deallocate(call, entry)
        if call.action != "virtualMachines.simulateEviction":
            raise ArmError("InvalidParameter", f"the sandbox does not know {call.path}")
        if entry.machine is None or entry.machine.market != "spot":
            raise ArmError("OperationNotAllowed", "Only Spot virtual machines can be evicted.")
        self.world.preempt(entry.machine.id)
        return Response(status_code=204)

    def _deallocate(self, call: Call, entry: Entry) -> Response:
        """https://learn.microsoft.com/rest/api/compute/virtual-machines/deallocate"""
        machine = entry.machine
        if machine is None:
            raise ArmError("OperationNotAllowed", f"{call.path} was never allocated.")
        threading.Thread(target=self.world.stop, args=(machine.id, "deallocated"), daemon=True).start()
        return self.operations.accept(call, Operation(done=lambda: machine.cause == "deallocated"))
