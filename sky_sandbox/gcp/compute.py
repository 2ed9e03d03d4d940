"""Google Compute Engine on loopback: the REST API of compute v1, as far as launching and ending machines needs it.

Replies have the shapes of the discovery document (https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest):
google-cloud-compute parses them. Machines are the world's, under the id ``zone/name``; everything else the API
shows is derived from them when asked, so that nothing can drift apart. TPUs are in :mod:`sky_sandbox.gcp.tpu`.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sky_sandbox.gcp import flex, types
from sky_sandbox.gcp.dataproc import Dataproc
from sky_sandbox.gcp.login import Door, ServiceAccount
from sky_sandbox.gcp.request import about, check_labels, no_accelerators, requested_machine, stockout
from sky_sandbox.gcp.reservations import Reservations, enter
from sky_sandbox.gcp.resources import Resources
from sky_sandbox.gcp.tokens import token_exchange
from sky_sandbox.gcp.tpu.nodes import Tpu
from sky_sandbox.gcp.tpu.queue import Queue
from sky_sandbox.gcp.wire import (
    API,
    ApiError,
    Call,
    Operation,
    Resource,
    add,
    endpoint,
    fingerprint,
    matches,
    not_found,
    operation_resource,
    page,
    start,
    timestamp,
)
from sky_sandbox.logins import Logins
from sky_sandbox.machines.record import WAITS, Machine
from sky_sandbox.world import Refused, World

ACCEPT_S = 0.1  # how long an insert stays PROVISIONING before the zone says yes or no
WAIT_S = 120.0  # operations.wait answers after two minutes at most
SYSTEM_EVENTS: Mapping[str, str] = {"self": "guestTerminate", "killed": "hostError"}  # by the cause of a machine's end


def app(world: World, logins: Logins, account: ServiceAccount) -> Starlette:
    """The emulated Google Cloud: Compute Engine and Cloud TPU over one world, and where tokens are to be had."""
    lending = [
        Route("/token", account.token, methods=["POST"]),
        Route("/v1/token", token_exchange(logins, account.bearer), methods=["POST"]),
    ]
    resources = Resources(world)
    world.gates["gcp"] = resources.lets_in
    tpus = Tpu(world)
    return Starlette(
        routes=[*lending, *Compute(world).routes(), *resources.routes(), *tpus.routes(), *Queue(world, tpus).routes(),
                *Dataproc(world).routes(), *Reservations(world).routes()],
        middleware=[Middleware(Door, bearer=account.bearer)],
    )  # fmt: skip


class Compute:
    """Instances and their operations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.operations: dict[tuple[str, str, str], Operation] = {}  # (project, scope, name)
        self.requests: dict[tuple[str, str, str], Operation] = {}  # (project, action, requestId)

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        project = "/compute/v1/projects/{project}"
        zone = project + "/zones/{zone}"
        instance = zone + "/instances/{name}"
        table = (
            ("POST", zone + "/instances", "instances.insert", self.insert),
            ("GET", zone + "/instances", "instances.list", self.list_instances),
            ("GET", instance, "instances.get", self.get),
            ("DELETE", instance, "instances.delete", self.delete),
            ("POST", instance + "/setLabels", "instances.setLabels", self.set_labels),
            ("GET", project + "/aggregated/instances", "instances.aggregatedList", self.aggregated_list),
            ("GET", project + "/aggregated/disks", "disks.aggregatedList", self.aggregated_disks),
            ("GET", zone + "/operations", "zoneOperations.list", self.list_operations),
            ("GET", zone + "/operations/{name}", "zoneOperations.get", self.get_operation),
        )
        routes = [
            Route(path, endpoint(self.world, action, handler, about), methods=[method])
            for method, path, action, handler in table
        ]
        return [*routes, Route(zone + "/operations/{name}/wait", self.wait, methods=["POST"])]

    # --- creating and ending ---------------------------------------------------------------------------------

    def insert(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert"""
        project, zone = call.path["project"], call.path["zone"]
        request_id = call.query.get("requestId", "")
        with self.world.lock:
            known = self.requests.get((project, "insert", request_id)) if request_id else None
            if known is not None:
                self._record("instances.insert", call, "replayed")
                return known.view()
            machine = requested_machine(self.world, project, zone, call.body)
            if self._find(project, zone, call.body["name"]) is not None:
                self._record("instances.insert", call, "exists")
                path = f"projects/{project}/zones/{zone}/instances/{call.body['name']}"
                raise ApiError(409, "alreadyExists", f"The resource '{path}' already exists")
            waits = flex.is_flex(call.body) and not call.refusal
            operation = self._line_up(machine, call) if waits else self._admit(machine, call)
            if not (waits or operation.errors):
                start(self.world, machine)
                self._limit(machine)
            if request_id:
                self.requests[project, "insert", request_id] = operation
            self._record("instances.insert", call, "refused" if operation.errors else "created")
        return operation.view()

    def _admit(self, machine: Machine, call: Call) -> Operation:
        errors: list[Resource] = []
        http = (0, "")
        try:
            if call.refusal:
                raise Refused("quota" if "QUOTA" in call.refusal else "capacity", "sandbox fault")
            machine.reservation, unmet = enter(self.world, machine)
            if unmet:
                errors.append({"code": "CONDITION_NOT_MET", "message": unmet})
                http = (412, "PRECONDITION FAILED")
            elif not machine.reservation:
                place = (machine.region, machine.zone, machine.type, machine.market)
                self.world.admit("gcp", *place, machine.vcpus, pools=machine.pools)
        except Refused as refused:
            words = no_accelerators if refused.none else self._quota_exceeded
            error, http = words(machine) if refused.why == "quota" else stockout(machine)
            errors.append(error | ({"code": call.refusal} if call.refusal else {}))
        operation = self._operation(machine.extra["project"], machine, "insert", ACCEPT_S)
        operation.errors, operation.http = errors, http
        return operation

    def _line_up(self, machine: Machine, call: Call) -> Operation:
        operation = self._operation(machine.extra["project"], machine, "insert", 0.0)

        def refuse() -> None:
            error, operation.http = stockout(machine)
            operation.errors.append(error)

        add(self.world, machine)
        line = flex.Line(self.world, machine, lambda: self._limit(machine), refuse)
        operation.finished = lambda: line.over
        line.begin(call.caller)
        return operation

    def _limit(self, machine: Machine) -> None:
        """End it when its ``maxRunDuration`` is over."""
        scheduling = machine.extra["resource"].get("scheduling", {})
        lifetime = scheduling.get("maxRunDuration", {}).get("seconds")
        if lifetime:
            deletes = scheduling.get("instanceTerminationAction") == "DELETE"
            end = partial(self._end, machine) if deletes else partial(self.world.stop, machine.id, "self")
            timer = threading.Timer(float(lifetime), end)
            timer.daemon = True
            timer.start()

    def delete(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/delete"""
        machine = self._get(call)
        self._record("instances.delete", call, "deleted")
        operation = self._operation(call.path["project"], machine, "delete", 0.0)
        begun = self.world.clock()  # one that has halted before is at its end for longer
        operation.finished = partial(_is_gone, machine)
        operation.ended_at = lambda: max(begun, machine.ended_at or begun)
        self._end(machine)
        return operation.view()

    def _end(self, machine: Machine) -> None:
        machine.deleted = True
        threading.Thread(target=self.world.stop, args=(machine.id,), daemon=True).start()

    def set_labels(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/setLabels"""
        machine = self._get(call)
        if call.body.get("labelFingerprint") != fingerprint(machine.tags):
            raise ApiError(412, "conditionNotMet", "Labels fingerprint either invalid or resource labels have changed")
        check_labels(call.body.get("labels", {}))
        machine.tags = dict(call.body.get("labels", {}))
        return self._operation(call.path["project"], machine, "setLabels", 0.0).view()

    # --- reading ---------------------------------------------------------------------------------------------

    def get(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/get"""
        return self._view(self._get(call))

    def list_instances(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/list"""
        return page("compute#instanceList", self._list(call, call.path["zone"]), call)

    def aggregated_list(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/instances/aggregatedList"""
        items: Resource = {}
        for resource in self._list(call, None):
            scope = "zones/" + resource["zone"].rsplit("/", 1)[1]
            items.setdefault(scope, {"instances": []})["instances"].append(resource)
        for zone in types.ZONES:
            message = f"There are no results for scope 'zones/{zone}' on this page."
            items.setdefault(f"zones/{zone}", {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": message}})
        return {"kind": "compute#instanceAggregatedList", "items": items}

    def aggregated_disks(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/disks/aggregatedList; boot disks, all in use."""
        items: Resource = {}
        for resource in self._list(call, None):
            disk = {"name": resource["name"], "zone": resource["zone"], "users": [resource["selfLink"]]}
            scope = "zones/" + resource["zone"].rsplit("/", 1)[1]
            items.setdefault(scope, {"disks": []})["disks"].append(disk)
        return {"kind": "compute#diskAggregatedList", "items": items}

    def _list(self, call: Call, zone: str | None) -> list[Resource]:
        with self.world.lock:
            machines = [m for m in self.world.machines.values() if self._shown(m, call.path["project"], zone)]
        views = (self._view(machine) for machine in machines)
        return [view for view in views if matches(view, call.query.get("filter", ""))]

    def _find(self, project: str, zone: str, name: str) -> Machine | None:
        machine = self.world.machines.get(f"{zone}/{name}")
        return machine if machine is not None and self._shown(machine, project, zone) else None

    def _get(self, call: Call) -> Machine:
        machine = self._find(call.path["project"], call.path["zone"], call.path["name"])
        if machine is None:
            raise not_found("projects/{project}/zones/{zone}/instances/{name}".format_map(call.path))
        return machine

    def _shown(self, machine: Machine, project: str, zone: str | None) -> bool:
        """Whether the API still knows the machine: a deleted one vanishes, a halted one stays, TERMINATED."""
        if machine.cloud != "gcp" or "resource" not in machine.extra or machine.extra["project"] != project:
            return False
        return machine.state != "gone" and zone in (None, machine.zone)

    def _status(self, machine: Machine) -> str:
        if WAITS in machine.extra and machine.state == "pending":
            return "PENDING"
        if machine.state == "off":
            return "TERMINATED"
        if machine.state == "stopping" or machine.notice_at is not None:
            return "STOPPING"  # a preempted machine is STOPPING during its 30 s of grace
        if machine.state == "running":
            return "RUNNING"
        return "PROVISIONING" if self.world.clock() < machine.created_at + ACCEPT_S else "STAGING"

    def _view(self, machine: Machine) -> Resource:
        """The instance resource as ``get`` shows it."""
        body, project = machine.extra["resource"], machine.extra["project"]
        root = f"{API}/projects/{project}/zones/{machine.zone}"
        name = machine.extra["name"]
        view = {
            **body,
            "kind": "compute#instance",
            "id": machine.extra["numeric_id"],
            "creationTimestamp": timestamp(machine.created_at),
            "status": self._status(machine),
            "zone": root,
            "selfLink": f"{root}/instances/{name}",
            "machineType": f"{root}/machineTypes/{machine.type}",
            "labels": machine.tags,
            "labelFingerprint": fingerprint(machine.tags),
            "disks": [_disk(root, name, disk) for disk in body.get("disks", ())],
            "networkInterfaces": [_interface(machine, item) for item in body.get("networkInterfaces", ())],
        }
        if machine.ready_at is not None:
            view["lastStartTimestamp"] = timestamp(machine.ready_at)
        if machine.ended_at is not None:
            view["lastStopTimestamp"] = timestamp(machine.ended_at)
        return view

    # --- operations ------------------------------------------------------------------------------------------

    def _operation(self, project: str, machine: Machine, kind: str, seconds: float) -> Operation:
        now, scope = self.world.clock(), f"zones/{machine.zone}"
        name, target = f"operation-{uuid.uuid4()}", f"instances/{machine.extra['name']}"
        resource = operation_resource(
            project, scope, kind, target, now, name=name, target_id=machine.extra["numeric_id"]
        )
        operation = Operation(resource, lambda: self.world.clock() >= now + seconds)
        self.operations[project, machine.zone, name] = operation
        return operation

    def _system_events(self, project: str, zone: str) -> dict[str, Operation]:
        """The operations by which Google tells of ends that nobody ordered.

        https://cloud.google.com/compute/docs/logging/audit-logging#system_event_audit_logs
        """
        with self.world.lock:
            machines = [m for m in self.world.machines.values() if m.cloud == "gcp" and "resource" in m.extra]
        found = {}
        for machine in machines:
            begun = machine.stopping_at if machine.notice_at is None else machine.notice_at
            event = "preempted" if machine.notice_at is not None else SYSTEM_EVENTS.get(machine.cause)
            if begun is None or event is None or (machine.extra["project"], machine.zone) != (project, zone):
                continue
            name = f"systemevent-{machine.extra['numeric_id']}"
            resource = operation_resource(
                project,
                f"zones/{zone}",
                f"compute.instances.{event}",
                f"instances/{machine.extra['name']}",
                begun,
                name=name,
                target_id=machine.extra["numeric_id"],
                user="system@google.com",
            )
            if event == "preempted":
                resource["statusMessage"] = "Instance was preempted."
            found[name] = Operation(
                resource, partial(_has_ended, machine), ended_at=partial(getattr, machine, "ended_at")
            )
        return found

    def _operations(self, project: str, zone: str) -> dict[str, Operation]:
        own = {key[2]: operation for key, operation in self.operations.items() if key[:2] == (project, zone)}
        return own | self._system_events(project, zone)

    def get_operation(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/zoneOperations/get"""
        operation = self._operations(call.path["project"], call.path["zone"]).get(call.path["name"])
        if operation is None:
            raise not_found("projects/{project}/zones/{zone}/operations/{name}".format_map(call.path))
        return operation.view()

    def list_operations(self, call: Call) -> Resource:
        """https://cloud.google.com/compute/docs/reference/rest/v1/zoneOperations/list"""
        views = (op.view() for op in self._operations(call.path["project"], call.path["zone"]).values())
        found = [view for view in views if matches(view, call.query.get("filter", ""))]
        return page("compute#operationList", found, call)

    async def wait(self, request: Request) -> Response:
        """https://cloud.google.com/compute/docs/reference/rest/v1/zoneOperations/wait"""
        call = Call(request.path_params, request.query_params)
        try:
            for _ in range(int(WAIT_S / 0.02)):
                resource = self.get_operation(call)
                if resource["status"] == "DONE":
                    break
                await asyncio.sleep(0.02)
        except ApiError as error:
            return error.reply()
        return JSONResponse(resource)

    # --- words -----------------------------------------------------------------------------------------------

    def _quota_exceeded(self, machine: Machine) -> tuple[Resource, tuple[int, str]]:
        limit = next(
            (self.world.quota[key] for key in (("gcp", machine.region), ("gcp", "*")) if key in self.world.quota), 0
        )
        info = {
            "metricName": "compute.googleapis.com/cpus",
            "limitName": "CPUS-per-project-region",
            "dimensions": {"region": machine.region},
            "limit": float(limit),
        }
        message = f"Quota 'CPUS' exceeded.  Limit: {limit:.1f} in region {machine.region}."
        error = {"code": "QUOTA_EXCEEDED", "message": message, "errorDetails": [{"quotaInfo": info}]}
        return error, (403, "FORBIDDEN")

    def _record(self, action: str, call: Call, outcome: str) -> None:
        self.world.record("api", None, cloud="gcp", action=action, outcome=outcome, **about(call))


def _is_gone(machine: Machine) -> bool:
    return machine.state == "gone"


def _has_ended(machine: Machine) -> bool:
    return machine.state in ("off", "gone")


def _disk(root: str, name: str, disk: Resource) -> Resource:
    """An attached disk as shown: what it was made from is no longer there."""
    shown = {key: value for key, value in disk.items() if key != "initializeParams"}
    return {**shown, "kind": "compute#attachedDisk", "source": f"{root}/disks/{name}", "type": "PERSISTENT"}


def _interface(machine: Machine, interface: Resource) -> Resource:
    shown = {**interface, "name": "nic0", "networkIP": machine.ip, "kind": "compute#networkInterface"}
    if machine.state != "off":
        access = [{**item, "natIP": machine.ip} for item in interface.get("accessConfigs", ())]
        shown["accessConfigs"] = access
    return shown
