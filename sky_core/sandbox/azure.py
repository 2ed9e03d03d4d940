"""Azure Resource Manager on loopback, as far as azure-mgmt-compute, -network and -resource need it.

A generic store of ARM resources, with the meaning of resource groups and virtual machines on top. What the real
service does and clients must live with is kept: creations are long-running operations, a failed allocation
leaves the machine's resource with its NIC and disk behind, ``list_all`` answers resource groups in capitals,
an evicted Spot machine (policy ``Delete``) is simply no longer there.
Wire format: https://learn.microsoft.com/en-us/rest/api/compute/virtual-machines and
https://learn.microsoft.com/en-us/azure/azure-resource-manager/management/async-operations.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sky_core.sandbox.world import Machine, Market, Refused, World

Body = dict[str, Any]

ALLOCATION_S = 0.2  # from the accepted request to an allocated machine, or to the failure of the allocation
DELETION_S = 0.2

LIST_GROUPS = re.compile(r"^/subscriptions/[^/]+/resourcegroups$")
GROUP = re.compile(r"^/subscriptions/[^/]+/resourcegroups/[^/]+$")
LIST_RESOURCES = re.compile(r"^(?P<scope>/subscriptions/[^/]+(?:/resourcegroups/[^/]+)?)/resources$")
LIST_ALL = re.compile(r"^(?P<scope>/subscriptions/[^/]+)/providers/(?P<type>[^/]+/[^/]+)$")
RESOURCE = re.compile(r"^(?P<group>/subscriptions/[^/]+/resourcegroups/[^/]+)/providers/(?P<path>[^/]+(?:/[^/]+)+)$")
OPERATION = re.compile(r"^/subscriptions/[^/]+/(?P<style>operations|operationresults)/(?P<id>[0-9a-f]{32})$")
SIZE = re.compile(r"^(?:Standard|Basic)_[A-Z]+(?P<cores>\d+)(?:-(?P<limit>\d+))?")
TAG_FILTER = re.compile(r"tagName eq '(?P<name>[^']*)'(?: and tagValue eq '(?P<value>[^']*)')?")

VM = "microsoft.compute/virtualmachines"
DISK = "Microsoft.Compute/disks"
NIC = "microsoft.network/networkinterfaces"
ADDRESS = "microsoft.network/publicipaddresses"
NETWORK = "microsoft.network/virtualnetworks"

# Codes that a creation fails with only after it was accepted; all others are refused at once.
ASYNCHRONOUS = {
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "OSProvisioningTimedOut",
}
STATUS = {
    "InvalidParameter": 400,
    "InvalidResourceReference": 400,
    "NicInUse": 400,
    "InvalidAuthenticationToken": 401,
    "ExpiredAuthenticationToken": 401,
    "AuthorizationFailed": 403,
    "RequestDisallowedByPolicy": 403,
    "ResourceNotFound": 404,
    "ResourceGroupNotFound": 404,
    "PreconditionFailed": 412,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "GatewayTimeout": 504,
}
MESSAGES = {
    "SkuNotAvailable": "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
    "{type}' is currently not available in location '{region}'. Please try another size or deploy to a different "
    "location or different zone. See https://aka.ms/azureskunotavailable for details.",
    "AllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in this "
    "region. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    "ZonalAllocationFailed": "Allocation failed. We do not have sufficient capacity for the requested VM size in "
    "this zone. Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance",
    "OverconstrainedAllocationRequest": "Allocation failed. VM(s) with the following constraints cannot be "
    "allocated, because the condition is too restrictive. Constraints applied are: Low Priority VMs, VM Size",
    "OperationNotAllowed": "Operation could not be completed as it results in exceeding approved Total Regional "
    "Cores quota. Additional details - Deployment Model: Resource Manager, Location: {region}",
    "AuthorizationFailed": "The client does not have authorization to perform this action, or the scope is invalid.",
    "TooManyRequests": "The server rejected the request because too many requests have been received.",
}


class ArmError(Exception):
    """An error reply in ARM's form: ``{"error": {"code", "message"}}``."""

    def __init__(self, code: str, message: str = "", about: Mapping[str, str] | None = None) -> None:
        text = message or MESSAGES.get(code, code).format_map({"type": "", "region": "", **(about or {})})
        super().__init__(text)
        self.code = code
        self.body: Body = {"code": code, "message": text}

    def response(self) -> Response:
        headers = {"Retry-After": "1"} if self.code == "TooManyRequests" else {}
        return JSONResponse({"error": self.body}, STATUS.get(self.code, 409), headers)


@dataclass(frozen=True)
class Call:
    """One request. ``path`` has no trailing slash; ``key`` is the path in lower case, since ARM ids ignore case."""

    method: str
    path: str
    base: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body

    @property
    def key(self) -> str:
        return self.path.lower()

    @property
    def group(self) -> str:
        """The name of the resource group, or ""."""
        parts = self.path.split("/")
        return parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""

    @property
    def action(self) -> str:
        """The call as the audit log names it, e.g. ``virtualMachines.put``."""
        parts = self.path.split("/")
        if len(parts) <= 5:
            return f"resourceGroups.{self.method.lower()}"
        if self.method == "POST":
            return f"{parts[-3]}.{parts[-1]}"
        return f"{parts[7] if len(parts) > 7 else parts[-1]}.{self.method.lower()}"


@dataclass
class Entry:
    """One stored resource.

    Attributes:
        body: What the client put, completed as ARM does.
        machine: The world's machine behind a VM, None for other resources and for a VM that got no hardware.
        error: What the allocation of the VM fails with.
        due: When the allocation ends either way, in seconds of ``time.monotonic``.
    """

    body: Body
    machine: Machine | None = None
    error: Body | None = None
    due: float = 0.0

    @property
    def type(self) -> str:
        return str(self.body["type"]).lower()

    @property
    def properties(self) -> Body:
        properties: Body = self.body["properties"]
        return properties

    def statuses(self) -> tuple[str, list[str]]:
        """A VM's provisioning state and the codes of its instance view.

        Codes: https://learn.microsoft.com/en-us/azure/virtual-machines/states-billing
        """
        if self.properties["provisioningState"] == "Deleting":
            return "Deleting", ["ProvisioningState/deleting"]
        if time.monotonic() < self.due:
            return "Creating", ["ProvisioningState/creating"]
        if self.error is not None:
            return "Failed", [f"ProvisioningState/failed/{self.error['code']}"]
        assert self.machine is not None
        if self.machine.state == "pending":
            return "Creating", ["ProvisioningState/creating/OSProvisioningInProgress", "PowerState/running"]
        if self.machine.state == "running":
            return "Succeeded", ["ProvisioningState/succeeded", "PowerState/running"]
        if self.machine.cause == "failed":
            return "Failed", ["ProvisioningState/failed/OSProvisioningTimedOut", "PowerState/stopped"]
        power = "deallocated" if self.machine.cause == "preempted" else "stopped"
        return "Succeeded", ["ProvisioningState/succeeded", f"PowerState/{power}"]


@dataclass(frozen=True)
class Operation:
    """A long-running operation; ``error`` is asked once it is done."""

    done: Callable[[], bool]
    error: Callable[[], Body | None] = lambda: None


@dataclass
class Arm:
    """All resources of all subscriptions, by lower-case id. One lock, never held while a machine is killed."""

    world: World
    lock: threading.RLock = field(default_factory=threading.RLock)
    groups: dict[str, Body] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)

    def handle(self, call: Call) -> Response:
        """Answer one request, after the fault that was injected for it, and log it if it changes anything."""
        about = self._about(call)
        try:
            response = self._answer(call, about)
            outcome = {201: "created", 412: "exists"}.get(response.status_code, "accepted")
        except ArmError as error:
            response, outcome = error.response(), error.code
        if call.method in ("PUT", "PATCH", "POST", "DELETE"):
            self.world.record("api", cloud="azure", action=call.action, outcome=outcome, **about)
        return response

    def _answer(self, call: Call, about: Mapping[str, str]) -> Response:
        if not call.headers.get("authorization", "").startswith("Bearer "):
            raise ArmError("InvalidAuthenticationToken", "The 'Authorization' header is missing.")
        if match := OPERATION.match(call.key):
            return self._operation(match["style"], match["id"])
        fault = self.world.fault("azure", call.action, **about)
        code, _, mode = (fault.code if fault else "").partition("@")
        late = mode == "async" or (code in ASYNCHRONOUS and mode != "sync")
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "error" and not (late and call.action == "virtualMachines.put"):
            raise ArmError(code, about=about)
        with self.lock:
            self._remove_evicted()
            failing = ArmError(code, about=about).body if fault and fault.kind == "error" else None
            response = self._route(call, about, failing)
        if fault and fault.kind == "lost":
            raise ArmError(code or "GatewayTimeout", about=about)
        return response

    def _about(self, call: Call) -> dict[str, str]:
        """What faults are matched against and the audit log tells of the call."""
        about = {"token": call.group} if call.group else {}
        if call.action == "virtualMachines.put":
            return about | {k: str(v) for k, v in _wanted(call.body).items()}
        return about | ({"region": call.body["location"]} if "location" in call.body else {})

    def _route(self, call: Call, about: Mapping[str, str], failing: Body | None) -> Response:
        if LIST_GROUPS.match(call.key):
            return _page(group for group in self.groups.values() if _has_tag(group, call))
        if GROUP.match(call.key):
            return self._group(call)
        if match := LIST_RESOURCES.match(call.key):
            inside = match["scope"] + "/"
            return _page(e.body for k, e in self.entries.items() if k.startswith(inside) and _has_tag(e.body, call))
        if match := LIST_ALL.match(call.key):
            inside = match["scope"] + "/"
            found = [e for k, e in self.entries.items() if k.startswith(inside) and e.type == match["type"]]
            return _page(_shout(self._view(entry, call)) for entry in found)
        if match := RESOURCE.match(call.key):
            if match["group"] not in self.groups:
                raise ArmError("ResourceGroupNotFound", f"Resource group '{call.group}' could not be found.")
            return self._resource(call, match["path"].split("/"), about, failing)
        raise ArmError("InvalidParameter", f"the sandbox does not know {call.path}")

    # --- resource groups -------------------------------------------------------------------------------------

    def _group(self, call: Call) -> Response:
        group = self.groups.get(call.key)
        if call.method == "PUT":
            return self._put_group(call, group)
        if group is None:
            if call.method == "HEAD":
                return Response(status_code=404)
            raise ArmError("ResourceGroupNotFound", f"Resource group '{call.group}' could not be found.")
        if call.method == "HEAD":
            return Response(status_code=204)
        if call.method == "PATCH":
            group |= {"tags": call.body.get("tags", group.get("tags", {}))}
        if call.method == "DELETE":
            group["properties"] = {"provisioningState": "Deleting"}
            threading.Thread(target=self._delete_group, args=(call,), daemon=True).start()
            return self._accepted(call, Operation(done=lambda: call.key not in self.groups), style="operationresults")
        return JSONResponse(group)

    def _put_group(self, call: Call, group: Body | None) -> Response:
        if group is not None:
            _reject_deleting(group)
            if group["location"] != call.body["location"]:
                raise ArmError("InvalidResourceGroupLocation", f"The group already exists in '{group['location']}'.")
        done = {"provisioningState": "Succeeded"}
        self.groups[call.key] = {
            **call.body,
            "id": call.path,
            "name": call.group,
            "type": "Microsoft.Resources/resourceGroups",
            "properties": done,
        }
        return JSONResponse(self.groups[call.key], 200 if group else 201)

    def _delete_group(self, call: Call) -> None:
        if "forcedeletiontypes" not in {name.lower() for name in call.query}:
            time.sleep(DELETION_S)  # the orderly way: the machine is asked to shut down first
        inside = call.key + "/"
        for entry in [entry for key, entry in self.entries.items() if key.startswith(inside)]:
            if entry.machine is not None:
                self.world.stop(entry.machine.id)
        time.sleep(DELETION_S)
        with self.lock:
            self.groups.pop(call.key)
            for key in [key for key in self.entries if key.startswith(inside)]:
                del self.entries[key]

    # --- resources of any type -------------------------------------------------------------------------------

    def _resource(self, call: Call, path: list[str], about: Mapping[str, str], failing: Body | None) -> Response:
        type_ = f"{path[0]}/{path[1]}"
        if call.method == "GET" and len(path) == 2:
            inside = call.key + "/"
            return _page(self._view(e, call) for k, e in self.entries.items() if k.startswith(inside))
        if call.method == "PUT":
            _reject_deleting(self.groups[call.key.split("/providers/")[0]])
            return self._put_machine(call, about, failing) if type_ == VM else self._put(call)
        entry = self.entries.get(call.key.rsplit("/", 1)[0] if call.method == "POST" else call.key)
        if entry is None:
            if call.method == "DELETE":
                return Response(status_code=204)
            raise ArmError("ResourceNotFound", f"The Resource '{call.path}' was not found.")
        if call.method == "POST":
            return self._evict(entry)
        if call.method == "PATCH":
            entry.body["tags"] = call.body.get("tags", entry.body.get("tags", {}))
        if call.method == "DELETE":
            return self._delete(call, entry)
        return JSONResponse(self._view(entry, call))

    def _put(self, call: Call) -> Response:
        known = self.entries.get(call.key)
        entry = self.entries[call.key] = self._complete(call)
        properties = entry.properties
        properties["provisioningState"] = "Succeeded"
        if entry.type == ADDRESS:
            properties["ipAddress"] = known.properties["ipAddress"] if known else self.world.address()
        if entry.type == NIC:
            for config in properties["ipConfigurations"]:
                config["properties"]["privateIPAddress"] = self._address_of(config)
        if entry.type == NETWORK:
            for subnet in properties.get("subnets", []):
                subnet["id"] = f"{call.path}/subnets/{subnet['name']}"
        return self._accepted(call, Operation(done=lambda: True), 200 if known else 201, entry.body)

    def _complete(self, call: Call) -> Entry:
        provider, *rest = call.path.split("/providers/")[1].split("/")
        return Entry(
            {
                **call.body,
                "id": call.path,
                "name": rest[-1],
                "type": "/".join([provider, *rest[::2]]),
                "properties": dict(call.body.get("properties", {})),
            }
        )

    def _address_of(self, config: Body) -> str:
        """The loopback address of an IP configuration: the sandbox's machines have one for inside and outside."""
        reference = config["properties"].get("publicIPAddress")
        if reference is None:
            return self.world.address()
        address = self.entries.get(reference["id"].lower())
        if address is None:
            raise ArmError("InvalidResourceReference", f"Resource {reference['id']} referenced was not found.")
        return str(address.properties["ipAddress"])

    def _delete(self, call: Call, entry: Entry) -> Response:
        if entry.type == NIC and any(call.key in _references(e) for e in self.entries.values() if e.type == VM):
            raise ArmError("NicInUse", f"Network Interface {call.path} is used by an existing VM.")
        entry.properties["provisioningState"] = "Deleting"
        threading.Thread(target=self._finish_deletion, args=(call.key, entry), daemon=True).start()
        return self._accepted(call, Operation(done=lambda: self.entries.get(call.key) is not entry))

    def _finish_deletion(self, key: str, entry: Entry) -> None:
        if entry.machine is not None:
            self.world.stop(entry.machine.id)
            time.sleep(DELETION_S)
        with self.lock:
            if self.entries.get(key) is entry:
                self._remove(key)

    def _remove(self, key: str) -> None:
        """Remove a resource and what its ``deleteOption`` says goes with it."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return
        for other, reference in _references(entry).items():
            if reference.get("deleteOption", reference.get("properties", {}).get("deleteOption")) == "Delete":
                self._remove(other)

    def _view(self, entry: Entry, call: Call) -> Body:
        expand = call.query.get("$expand", "").lower()
        if entry.type == VM:
            state, codes = entry.statuses()
            more: Body = {"provisioningState": state}
            if "instanceview" in expand:
                message = entry.error["message"] if entry.error else ""
                more["instanceView"] = {"statuses": [{"code": code, "message": message} for code in codes]}
            return entry.body | {"properties": entry.properties | more}
        if entry.type == NIC and "publicipaddress" in expand:
            view = json.loads(json.dumps(entry.body))
            for config in view["properties"]["ipConfigurations"]:
                if "publicIPAddress" in config["properties"]:
                    address = self.entries.get(config["properties"]["publicIPAddress"]["id"].lower())
                    config["properties"]["publicIPAddress"] |= address.body if address else {}
            return dict(view)
        return entry.body

    # --- virtual machines ------------------------------------------------------------------------------------

    def _put_machine(self, call: Call, about: Mapping[str, str], failing: Body | None) -> Response:
        known = self.entries.get(call.key)
        if known is not None:
            return self._update_machine(call, known)
        entry = self._complete(call)
        entry.due = time.monotonic() + ALLOCATION_S
        entry.properties.update({"provisioningState": "Creating", "vmId": str(uuid.uuid4())})
        entry.body["etag"] = f'"{uuid.uuid4()}"'
        missing = next((key for key in _references(entry) if key not in self.entries), None)
        if missing:
            raise ArmError("InvalidResourceReference", f"Resource {missing} referenced by {call.path} was not found.")
        entry.error = failing
        if entry.error is None:
            try:
                entry.machine = self._allocate(call, entry)
            except ArmError as error:
                if error.code not in ASYNCHRONOUS:
                    raise
                entry.error = error.body
        self._add_disk(call, entry)
        self.entries[call.key] = entry
        settled = Operation(done=lambda: entry.statuses()[0] != "Creating", error=lambda: entry.error)
        return self._accepted(call, settled, 201, self._view(entry, call))

    def _update_machine(self, call: Call, entry: Entry) -> Response:
        if call.headers.get("if-none-match") == "*":
            raise ArmError("PreconditionFailed", f"The resource {call.path} exists already.")
        if call.body["properties"]["hardwareProfile"] != entry.properties["hardwareProfile"]:
            raise ArmError("PropertyChangeNotAllowed", "Changing property 'hardwareProfile' is not allowed.")
        entry.body["tags"] = call.body.get("tags", {})
        return JSONResponse(self._view(entry, call))

    def _allocate(self, call: Call, entry: Entry) -> Machine:
        wanted = _wanted(call.body)
        market: Market = "spot" if wanted["market"] == "spot" else "on-demand"
        place = ("azure", wanted["region"], wanted["zone"], wanted["type"], market, _cores(wanted["type"]))
        with self.world.lock:
            try:
                self.world.admit(*place)
            except Refused as refusal:
                raise ArmError(_refusal(refusal, wanted), about=wanted) from None
            machine = Machine(
                id=call.path,
                cloud="azure",
                region=wanted["region"],
                zone=wanted["zone"],
                type=wanted["type"],
                market=market,
                vcpus=_cores(wanted["type"]),
                tags=dict(call.body.get("tags", {})),
                ip=self._ip(entry),
                user_data=base64.b64decode(entry.properties["osProfile"].pop("customData", "")).decode(),
                created_at=self.world.clock(),
                extra={"name": entry.body["name"], "group": call.group, "vm_id": entry.properties["vmId"]},
            )
            self.world.start(machine)
        return machine

    def _ip(self, entry: Entry) -> str:
        nic = next(key for key in _references(entry) if self.entries[key].type == NIC)
        return str(self.entries[nic].properties["ipConfigurations"][0]["properties"]["privateIPAddress"])

    def _add_disk(self, call: Call, entry: Entry) -> None:
        """The machine's OS disk, a resource of its own that outlives the machine unless told otherwise."""
        os_disk = entry.properties["storageProfile"]["osDisk"]
        name = f"{entry.body['name']}_OsDisk_1_{uuid.uuid4().hex}"
        path = f"{call.path.split('/providers/')[0]}/providers/{DISK}/{name}"
        managed = {**os_disk.get("managedDisk", {}), "id": path}
        entry.properties["storageProfile"]["osDisk"] = {**os_disk, "name": name, "managedDisk": managed}
        body = {"id": path, "name": name, "type": DISK, "location": call.body["location"], "managedBy": call.path}
        self.entries[path.lower()] = Entry({**body, "properties": {"provisioningState": "Succeeded"}})

    def _evict(self, entry: Entry) -> Response:
        """``simulateEviction``, which Azure offers for Spot machines."""
        if entry.machine is None or entry.machine.market != "spot":
            raise ArmError("OperationNotAllowed", "Only Spot virtual machines can be evicted.")
        self.world.preempt(entry.machine.id)
        return Response(status_code=204)

    def _remove_evicted(self) -> None:
        for key, entry in list(self.entries.items()):
            machine = entry.machine
            evicted = machine is not None and machine.state == "gone" and machine.cause == "preempted"
            if evicted and entry.properties.get("evictionPolicy") == "Delete":
                self._remove(key)

    # --- long-running operations -----------------------------------------------------------------------------

    def _accepted(
        self,
        call: Call,
        operation: Operation,
        status: int = 202,
        body: Body | None = None,
        style: str = "operations",
    ) -> Response:
        name = uuid.uuid4().hex
        self.operations[name] = operation
        url = f"{call.base}/{'/'.join(call.path.split('/')[1:3])}/{style}/{name}?api-version=2024-01-01"
        headers = {"Location" if style == "operationresults" else "Azure-AsyncOperation": url}
        return Response(status_code=status, headers=headers) if body is None else JSONResponse(body, status, headers)

    def _operation(self, style: str, name: str) -> Response:
        operation = self.operations.get(name)
        if operation is None:
            raise ArmError("ResourceNotFound", f"no operation {name}")
        done = operation.done()
        if style == "operationresults":
            return Response(status_code=200 if done else 202)
        error = operation.error() if done else None
        if error is not None:
            return JSONResponse({"status": "Failed", "error": error})
        return JSONResponse({"status": "Succeeded" if done else "InProgress"})


def _wanted(body: Body) -> dict[str, str]:
    """Region, zone, size and market of a VM's request body."""
    region = str(body.get("location", "")).lower().replace(" ", "")
    zones = body.get("zones") or []
    properties = body.get("properties", {})
    return {
        "region": region,
        "zone": f"{region}-{zones[0]}" if zones else region,
        "type": properties.get("hardwareProfile", {}).get("vmSize", ""),
        "market": "spot" if properties.get("priority", "").lower() == "spot" else "on-demand",
    }


def _cores(size: str) -> int:
    """vCPUs of a VM size, which its name tells (``Standard_E16-4s_v5`` has 4 of a 16-core machine's)."""
    match = SIZE.match(size)
    if match is None:
        raise ArmError("InvalidParameter", f"The value {size} provided for the VM size is not valid.")
    return int(match["limit"] or match["cores"])


def _refusal(refusal: Refused, wanted: Mapping[str, str]) -> str:
    """The code that Azure words a refusal with; Spot is refused at once, others when allocation was tried."""
    if refusal.why == "quota":
        return "OperationNotAllowed"
    if wanted["market"] == "spot":
        return "SkuNotAvailable"
    return "AllocationFailed" if wanted["zone"] == wanted["region"] else "ZonalAllocationFailed"


def _references(entry: Entry) -> dict[str, Body]:
    """The resources that a VM or a NIC is made of: key of each, with the reference that names it."""
    properties = entry.properties
    found = [*properties.get("networkProfile", {}).get("networkInterfaces", [])]
    found += [
        c["properties"]["publicIPAddress"]
        for c in properties.get("ipConfigurations", [])
        if "publicIPAddress" in c["properties"]
    ]
    os_disk = properties.get("storageProfile", {}).get("osDisk", {})
    if "id" in os_disk.get("managedDisk", {}):
        found.append({"id": os_disk["managedDisk"]["id"], "deleteOption": os_disk.get("deleteOption", "Detach")})
    return {reference["id"].lower(): reference for reference in found}


def _reject_deleting(group: Body) -> None:
    if group["properties"]["provisioningState"] == "Deleting":
        raise ArmError("ResourceGroupBeingDeleted", f"The resource group '{group['name']}' is in deprovisioning state.")


def _has_tag(body: Body, call: Call) -> bool:
    match = TAG_FILTER.match(call.query.get("$filter", ""))
    if match is None:
        return True
    tags = body.get("tags") or {}
    return match["name"] in tags and match["value"] in (None, tags[match["name"]])


def _shout(body: Body) -> Body:
    """Subscription-wide lists of the real service spell resource groups in capitals."""
    parts = body["id"].split("/")
    parts[4] = parts[4].upper()
    return body | {"id": "/".join(parts)}


def _page(bodies: Iterable[Body]) -> Response:
    return JSONResponse({"value": list(bodies)})


def app(world: World) -> Starlette:
    """The server, to be served over TLS (:mod:`sky_core.sandbox.tls`)."""
    arm = Arm(world)

    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        call = Call(
            method=request.method,
            path=request.url.path.rstrip("/"),
            base=f"{request.url.scheme}://{request.headers['host']}",
            query=request.query_params,
            headers=request.headers,
            body=json.loads(raw) if raw else {},
        )
        return await run_in_threadpool(arm.handle, call)

    methods = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", endpoint, methods=methods)])
