"""Cloud TPU's queue on loopback (https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources).

A queued resource is accepted whatever there is, waits until its zone has room, and then makes its node, which can be
told and deleted like any other. It counts against the quota until it is deleted, also once it has failed, or its node
is gone. What is waited for is the zone's capacity; the fault ``queue`` makes a wait longer, or lets it end in an error.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field

from starlette.routing import Route

from sky_sandbox.gcp.tpu.nodes import (
    INTERNAL,
    NO_CAPACITY,
    OVER_QUOTA,
    RESOURCE_EXHAUSTED,
    TYPE,
    Tpu,
    place,
    state_of,
    worded,
)
from sky_sandbox.gcp.tpu.nodes import about as about_node
from sky_sandbox.gcp.wire import ApiError, Call, Resource, endpoint, page, start, timestamp
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import CALLER, Refused, World

NAME = re.compile(r"^[A-Za-z0-9_.~+%-]+$")
SECONDS = re.compile(r"^(\d+(?:\.\d+)?)s$")  # a Duration in JSON
LOOK_S = 0.1  # between two looks whether there is room
DELETING_S = 0.3  # how long a deletion takes at least
EXPIRED = {"code": 4, "message": "The request could not be fulfilled before its valid-until time."}  # words unsure
ENDED = {"DELETING": "SUSPENDING", "PREEMPTED": "SUSPENDED"}  # by the state of its node


@dataclass
class Queued:
    """A queued resource. ``node`` is the call that would make its node; times are seconds since the epoch."""

    body: Resource
    path: str
    node: Call
    made_at: float
    vcpus: int
    until: float | None
    from_: float = 0.0
    looked_at: bool = False
    hosts: list[Machine] = field(default_factory=list)
    error: Resource | None = None
    deleted_at: float | None = None

    @property
    def live(self) -> bool:
        """Whether its hosts count against the quota themselves."""
        return any(machine.state in ("pending", "running") for machine in self.hosts)

    def gone(self, now: float) -> bool:
        """Whether nothing is left of it, once it is deleted."""
        if self.deleted_at is None or now < self.deleted_at + DELETING_S:
            return False
        return all(machine.state == "gone" for machine in self.hosts)

    def view(self) -> Resource:
        """As the API shows it."""
        return {
            **self.body,
            "name": self.path,
            "createTime": timestamp(self.made_at),
            "state": self._state(),
        }

    def _state(self) -> Resource:
        if self.deleted_at is not None:
            return {"state": "DELETING"}
        if self.error is not None:
            return {"state": "FAILED", "failedData": {"error": self.error}}
        if not self.hosts:
            return {"state": "WAITING_FOR_RESOURCES" if self.looked_at else "ACCEPTED"}
        if all(machine.state == "gone" for machine in self.hosts):
            return {"state": "SUSPENDED", "stateInitiator": "USER"}
        node = state_of(self.hosts)
        if node == "STOPPED":
            told = {"code": INTERNAL, "message": "The node could not be created."}
            return {"state": "FAILED", "failedData": {"error": told}}
        if node in ENDED:
            return {"state": ENDED[node], "stateInitiator": "SERVICE" if node == "PREEMPTED" else "USER"}
        return {"state": "PROVISIONING" if node == "CREATING" else "ACTIVE"}


class Queue:
    """Queued resources, and the nodes that come of them."""

    def __init__(self, world: World, nodes: Tpu) -> None:
        self.world = world
        self.nodes = nodes
        self.queued: list[Queued] = []
        world.claims.append(self._claimed)
        world.forgets.append(self.queued.clear)

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        location = "/v2/projects/{project}/locations/{zone}/queuedResources"
        table = (
            ("POST", location, "queuedResources.create", self.create),
            ("GET", location, "queuedResources.list", self.list_queued),
            ("GET", location + "/{name}", "queuedResources.get", self.get),
            ("DELETE", location + "/{name}", "queuedResources.delete", self.delete),
        )
        return [
            Route(path, endpoint(self.world, action, handler, about, word=worded), methods=[method])
            for method, path, action, handler in table
        ]

    def create(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources/create"""
        with self.world.lock:
            asked = self._asked(call)
            if any(one.path == asked.path for one in self._known()):
                self._record("queuedResources.create", call, "exists")
                raise ApiError(409, "alreadyExists", f"Resource '{asked.path}' already exists")
            refusal = self._refusal(asked, call)
            self._record("queuedResources.create", call, "refused" if refusal else "created")
            if refusal is not None:
                failure: Resource = {"done": True, "error": refusal}
                return self.nodes.operation(call, lambda: failure)
            self.queued.append(asked)
        threading.Thread(target=self._serve, args=(asked, call.caller), daemon=True).start()
        made = {"@type": TYPE + "QueuedResource", **asked.view()}
        return self.nodes.operation(call, lambda: {"done": True, "response": made})

    def _asked(self, call: Call) -> Queued:
        """What a create asks for, after the checks that Cloud TPU makes at once."""
        name, body = call.query.get("queuedResourceId", ""), call.body
        specs = body.get("tpu", {}).get("nodeSpec", [])
        location = "projects/{project}/locations/{zone}".format_map(call.path)
        if not NAME.match(name):
            raise ApiError(400, "invalid", f"Invalid queued resource id {name!r}")
        if len(specs) != 1 or not NAME.match(specs[0].get("nodeId", "")):
            raise ApiError(400, "invalid", "One node with its nodeId has to be specified (sandbox: no multislice)")
        if specs[0].get("parent") != location:
            raise ApiError(400, "invalid", f"The parent of a node has to be {location}")
        if "spot" in body and "guaranteed" in body:
            raise ApiError(400, "invalid", "The tier is either spot or guaranteed")
        if ("spot" in body) != bool(specs[0]["node"].get("schedulingConfig", {}).get("spot")):
            raise ApiError(400, "invalid", "The tier and the node's schedulingConfig say different things")
        now = self.world.clock()
        policy = body.get("queueingPolicy", {})
        valid = SECONDS.match(policy["validUntilDuration"]) if "validUntilDuration" in policy else None
        if policy and not valid:
            raise ApiError(400, "invalid", f"Invalid queueing policy {policy} (sandbox: validUntilDuration only)")
        node = Call(call.path, {"nodeId": specs[0]["nodeId"]}, specs[0]["node"])
        vcpus = sum(machine.vcpus for machine in self.nodes.machines(node))
        until = now + float(valid[1]) if valid else None
        return Queued(body, f"{location}/queuedResources/{name}", node, now, vcpus, until)

    def _refusal(self, asked: Queued, call: Call) -> Resource | None:
        """There is no want of capacity here, only of quota."""
        first = self.nodes.machines(asked.node)[0]
        try:
            if call.refusal:
                raise Refused("quota" if "QUOTA" in call.refusal else "capacity", "sandbox fault")
            self.world.within_quota("gcp", first.region, asked.vcpus, first.pools)
        except Refused as refused:
            message = OVER_QUOTA if refused.why == "quota" else NO_CAPACITY
            return {"code": RESOURCE_EXHAUSTED, "message": message.format(zone=first.zone)}
        return None

    # --- waiting ---------------------------------------------------------------------------------------------

    def _serve(self, asked: Queued, caller: str) -> None:
        """Give it its node once there is room, or an error."""
        CALLER.set(caller)
        fault = self.world.fault("gcp", "queue", **about_node(asked.node))
        if fault is not None:
            asked.from_ = asked.made_at + fault.seconds
        while not self._settled(asked, fault.code if fault is not None and fault.kind == "error" else None):
            time.sleep(LOOK_S)

    def _settled(self, asked: Queued, code: str | None) -> bool:
        with self.world.lock:
            if asked not in self.queued or asked.deleted_at is not None:
                return True
            now, asked.looked_at = self.world.clock(), True
            if asked.until is not None and now > asked.until:
                asked.error = EXPIRED
            elif now >= asked.from_ and code is not None:
                zone = asked.node.path["zone"]
                words = OVER_QUOTA if "QUOTA" in code else NO_CAPACITY
                asked.error = {"code": RESOURCE_EXHAUSTED, "message": words.format(zone=zone)}
            elif now >= asked.from_:
                self._provide(asked)
            return asked.error is not None or bool(asked.hosts)

    def _provide(self, asked: Queued) -> None:
        hosts = self.nodes.machines(asked.node)
        asked.hosts = hosts  # they count themselves from now on
        try:
            self.world.admit(*place(hosts[0]), count=len(hosts), pools=hosts[0].pools)
        except Refused:
            asked.hosts = []
            return
        for machine in hosts:
            machine.extra["queued"] = asked.path
            start(self.world, machine)

    def _claimed(self, cloud: str, scope: str) -> int:
        """vCPUs that count against a quota although no machine has them."""
        if cloud != "gcp":
            return 0
        claims = [one for one in self._known() if not one.live]
        return sum(one.vcpus for one in claims if scope in (about_node(one.node)["region"], "*"))

    # --- reading and ending ----------------------------------------------------------------------------------

    def get(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources/get"""
        return self._found(call).view()

    def list_queued(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources/list"""
        project, zone = call.path["project"], call.path["zone"]
        here = [
            one for one in self._known() if one.node.path["project"] == project and zone in (one.node.path["zone"], "-")
        ]
        reply = page("", (one.view() for one in here), call, key="queuedResources")
        del reply["kind"]
        return reply

    def delete(self, call: Call) -> Resource:
        """https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.queuedResources/delete"""
        with self.world.lock:
            asked = self._found(call)
            state = asked.view()["state"]["state"]
            if call.query.get("force") != "true" and state in ("PROVISIONING", "ACTIVE", "SUSPENDING"):
                raise ApiError(400, "failedPrecondition", f"The queued resource is {state} and has nodes: use force")
            self._record("queuedResources.delete", call, "deleted")
            asked.deleted_at = asked.deleted_at or self.world.clock()
            for machine in asked.hosts:
                machine.deleted = True
        for machine in asked.hosts:
            threading.Thread(target=self.world.stop, args=(machine.id,), daemon=True).start()
        done = {"done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}
        return self.nodes.operation(call, lambda: done if asked.gone(self.world.clock()) else {})

    def _known(self) -> list[Queued]:
        with self.world.lock:
            now = self.world.clock()
            self.queued[:] = [one for one in self.queued if not one.gone(now)]
            return list(self.queued)

    def _found(self, call: Call) -> Queued:
        path = "projects/{project}/locations/{zone}/queuedResources/{name}".format_map(call.path)
        for one in self._known():
            if one.path == path:
                return one
        raise ApiError(404, "notFound", f"Resource '{path}' was not found")

    def _record(self, action: str, call: Call, outcome: str) -> None:
        self.world.record("api", None, cloud="gcp", action=action, outcome=outcome, **about(call))


def about(call: Call) -> dict[str, str]:
    """What faults can match a call by, and what the audit log says of it. The token is the resource's id."""
    specs = call.body.get("tpu", {}).get("nodeSpec", [])
    node = Call(call.path, {}, specs[0].get("node", {})) if specs else Call(call.path, {})
    token = call.query.get("queuedResourceId") or call.path.get("name", "")
    return {**about_node(node), "token": token}
