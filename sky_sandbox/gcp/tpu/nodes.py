"""Cloud TPU on loopback: the REST API of tpu v2 (https://cloud.google.com/tpu/docs/reference/rest/v2).

A node is one machine per host of its slice: ``zone/tpu/name`` for the first, ``zone/tpu/name/1`` and so on. Errors
are google.rpc statuses; a stock-out is the failure of the creating operation.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import Route

from sky_sandbox.gcp.types import ZONES
from sky_sandbox.gcp.wire import ApiError, Call, Resource, endpoint, page, start, timestamp
from sky_sandbox.images import runtimes
from sky_sandbox.machines.record import Cause, Machine, Market
from sky_sandbox.world import Refused, World

# https://cloud.google.com/apis/design/errors: HTTP status to canonical code.
STATUS = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    503: "UNAVAILABLE",
}
RESOURCE_EXHAUSTED, INTERNAL = 8, 13
NO_CAPACITY = (
    'There is no more capacity in the zone "{zone}"; you can try in another zone where Cloud TPU Nodes are offered '
    "(see https://cloud.google.com/tpu/docs/regions)"
)
OVER_QUOTA = "Quota limit 'TPUsPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone {zone}."
TYPE = "type.googleapis.com/google.cloud.tpu.v2."
INSTANCE_TYPE = "TPU-VM"  # the name by which capacity for TPU hosts is set here
# vCPUs of one host, and the slice size (as in the accelerator's name) that one host serves.
HOSTS = {"v2": (96, 8), "v3": (96, 8), "v4": (240, 8), "v5litepod": (224, 8), "v5p": (208, 8), "v6e": (180, 8)}
# The generation that a prefix of acceleratorType stands for: https://cloud.google.com/tpu/docs/v5e and its like.
GENERATION = {"v2": "v2", "v3": "v3", "v4": "v4", "v5litepod": "v5e", "v5p": "v5p", "v6e": "v6e"}
RESTS: frozenset[Cause] = frozenset({"self", "killed", "failed", "preempted"})  # a node goes when it is deleted only

# What an operation shows beside its name: {} while it runs, "done" with "response" or "error" after.
Outcome = Callable[[], Resource]


class Tpu:
    """TPU nodes and their operations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.operations: dict[str, Outcome] = {}

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        location = "/v2/projects/{project}/locations/{zone}"
        table = (
            ("POST", location + "/nodes", "nodes.create", self.create),
            ("GET", location + "/nodes", "nodes.list", self.list_nodes),
            ("GET", location + "/nodes/{name}", "nodes.get", self.get),
            ("DELETE", location + "/nodes/{name}", "nodes.delete", self.delete),
            ("GET", location + "/operations/{name}", "tpuOperations.get", self.get_operation),
        )
        return [
            Route(path, endpoint(self.world, action, handler, about, word=worded), methods=[method])
            for method, path, action, handler in table
        ]

    # --- creating and ending ---------------------------------------------------------------------------------

    def create(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes/create"""
        with self.world.lock:
            hosts = self.machines(call)
            if self._hosts(call.path["project"], call.path["zone"], call.query["nodeId"]):
                self._record("nodes.create", call, "exists")
                raise ApiError(409, "alreadyExists", f"Resource '{_name(hosts[0])}' already exists")
            refusal = self._refusal(hosts, call)
            self._record("nodes.create", call, "refused" if refusal else "created")
            if refusal is not None:
                failure: Resource = {"done": True, "error": refusal}
                return self.operation(call, lambda: failure)
            for machine in hosts:
                start(self.world, machine)
        return self.operation(call, lambda: _creation(hosts))

    def _refusal(self, hosts: list[Machine], call: Call) -> Resource | None:
        first = hosts[0]
        try:
            if call.refusal:
                raise Refused("quota" if "QUOTA" in call.refusal else "capacity", "sandbox fault")
            self.world.admit(*place(first), count=len(hosts), pools=first.pools)
        except Refused as refused:
            message = OVER_QUOTA if refused.why == "quota" else NO_CAPACITY
            return {"code": RESOURCE_EXHAUSTED, "message": message.format(zone=first.zone)}
        return None

    def machines(self, call: Call) -> list[Machine]:
        """The hosts that a create asks for, after the checks that Cloud TPU makes at once."""
        zone, body, name = call.path["zone"], call.body, call.query["nodeId"]
        prefix, _, size = body.get("acceleratorType", "").rpartition("-")
        if zone not in ZONES:
            raise ApiError(404, "notFound", f"Location {zone} is not found")
        if prefix not in HOSTS or not size.isdigit():
            raise ApiError(400, "invalid", f"Accelerator type {body.get('acceleratorType')} is not found")
        if not body.get("runtimeVersion"):
            raise ApiError(400, "invalid", "Runtime version is required")
        if body["runtimeVersion"] not in runtimes(prefix):
            raise ApiError(404, "notFound", f"Runtime version {body['runtimeVersion']} is not found")
        vcpus, per_host = HOSTS[prefix]
        now = self.world.clock()
        return [
            Machine(
                id=f"{zone}/tpu/{name}" + (f"/{index}" if index else ""),
                cloud="gcp",
                region=ZONES[zone],
                zone=zone,
                type=INSTANCE_TYPE,
                market=_market(body),
                vcpus=vcpus,
                tags=dict(body.get("labels", {})),
                ip=self.world.address(),
                user_data=body.get("metadata", {}).get("user-data", ""),
                created_at=now,
                pools=(f"tpu-{GENERATION[prefix]}-{size}",),
                extra={
                    "project": call.path["project"],
                    "name": name,
                    "node": body,
                    "host": index,
                    "metadata": body.get("metadata", {}),
                    "image": body["runtimeVersion"],
                },
                rests=RESTS,
            )
            for index in range(math.ceil(int(size) / per_host))
        ]

    def delete(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes/delete"""
        hosts = self._found(call)
        self._record("nodes.delete", call, "deleted")
        for machine in hosts:
            machine.deleted = True
            threading.Thread(target=self.world.stop, args=(machine.id,), daemon=True).start()
        return self.operation(call, lambda: _deletion(hosts))

    # --- reading ---------------------------------------------------------------------------------------------

    def get(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes/get"""
        return _view(self._found(call))

    def list_nodes(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes/list; "-" is every zone."""
        nodes: dict[str, list[Machine]] = {}
        for machine in self._hosts(call.path["project"], call.path["zone"]):
            nodes.setdefault(_name(machine), []).append(machine)
        reply = page("", (_view(hosts) for hosts in nodes.values()), call, key="nodes")
        del reply["kind"]
        return reply

    def _found(self, call: Call) -> list[Machine]:
        hosts = self._hosts(call.path["project"], call.path["zone"], call.path["name"])
        if not hosts:
            path = "projects/{project}/locations/{zone}/nodes/{name}".format_map(call.path)
            raise ApiError(404, "notFound", f"Resource '{path}' was not found")
        return hosts

    def _hosts(self, project: str, zone: str, name: str | None = None) -> list[Machine]:
        """Machines of the nodes that the API still knows: a preempted node stays until it is deleted."""
        with self.world.lock:
            return [
                machine
                for machine in self.world.machines.values()
                if "node" in machine.extra
                and machine.extra["project"] == project
                and zone in (machine.zone, "-")
                and name in (machine.extra["name"], None)
                and machine.state != "gone"
            ]

    # --- operations ------------------------------------------------------------------------------------------

    def operation(self, call: Call, outcome: Outcome) -> Resource:
        """An operation whose outcome is told when it is asked for."""
        name = "projects/{project}/locations/{zone}/operations/".format_map(call.path) + f"operation-{uuid.uuid4()}"
        self.operations[name] = outcome
        return {"name": name, "done": False}

    def get_operation(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.operations/get"""
        name = "projects/{project}/locations/{zone}/operations/{name}".format_map(call.path)
        if name not in self.operations:
            raise ApiError(404, "notFound", f"Operation '{name}' was not found")
        return {"name": name, "done": False, **self.operations[name]()}

    def _record(self, action: str, call: Call, outcome: str) -> None:
        self.world.record("api", None, cloud="gcp", action=action, outcome=outcome, **about(call))


def about(call: Call) -> dict[str, str]:
    """What faults can match a call by, and what the audit log says of it. The token is the node's id."""
    zone = call.path["zone"]
    found = {"zone": zone, "region": ZONES.get(zone, "")}
    found["token"] = call.query.get("nodeId") or call.path.get("name", "")
    prefix, _, size = call.body.get("acceleratorType", "").rpartition("-")
    if prefix in GENERATION:
        found |= {"type": f"tpu-{GENERATION[prefix]}-{size}", "market": _market(call.body)}
    return found


def _market(body: dict[str, Any]) -> Market:
    scheduling = body.get("schedulingConfig", {})
    return "spot" if scheduling.get("spot") or scheduling.get("preemptible") else "on-demand"


def place(machine: Machine) -> tuple[str, str, str, str, Market, int]:
    """Where it is to be, and what it takes there, as the world admits it."""
    return "gcp", machine.region, machine.zone, machine.type, machine.market, machine.vcpus


def _name(machine: Machine) -> str:
    return f"projects/{machine.extra['project']}/locations/{machine.zone}/nodes/{machine.extra['name']}"


def state_of(hosts: list[Machine]) -> str:
    """A slice is as well as the worst of its hosts. One that its guest has shut down is no business of the API's."""
    if any(machine.deleted for machine in hosts):
        return "DELETING"
    if any(machine.cause == "preempted" for machine in hosts):
        return "PREEMPTED"
    if any(machine.cause == "failed" for machine in hosts):
        return "STOPPED"
    return "CREATING" if any(machine.state == "pending" for machine in hosts) else "READY"


def _view(hosts: list[Machine]) -> Resource:
    first = hosts[0]
    endpoints = [
        {"ipAddress": machine.ip, "port": 8470, "accessConfig": {"externalIp": machine.ip}} for machine in hosts
    ]
    return {
        **first.extra["node"],
        "name": _name(first),
        "state": state_of(hosts),
        "health": "HEALTHY" if all(machine.state == "running" for machine in hosts) else "TIMEOUT",
        "createTime": timestamp(first.created_at),
        "labels": first.tags,
        "networkEndpoints": endpoints,
        **({"queuedResource": first.extra["queued"]} if "queued" in first.extra else {}),
        "apiVersion": "V2",
    }


def _creation(hosts: list[Machine]) -> Resource:
    state = state_of(hosts)
    if state == "CREATING":
        return {}
    if state == "READY":
        return {"done": True, "response": {"@type": TYPE + "Node", **_view(hosts)}}
    return {"done": True, "error": {"code": INTERNAL, "message": f"The node became {state} while it was being created"}}


def _deletion(hosts: list[Machine]) -> Resource:
    if any(machine.state != "gone" for machine in hosts):
        return {}
    return {"done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}


def worded(error: ApiError) -> JSONResponse:
    """An error in Cloud TPU's words."""
    status = "FAILED_PRECONDITION" if error.reason == "failedPrecondition" else STATUS.get(error.status, "UNKNOWN")
    return JSONResponse(
        {"error": {"code": error.status, "message": error.message, "status": status}}, status_code=error.status
    )
