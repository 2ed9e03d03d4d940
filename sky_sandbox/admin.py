"""The control API of the sandbox: what is there, and everything that can go wrong on command.

JSON over HTTP with the bearer token of ``endpoints.json``; :class:`~sky_sandbox.client.Control` is its client.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import psutil
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sky_sandbox.accounts import PROFILES
from sky_sandbox.machines.instances import Hypervisor
from sky_sandbox.machines.record import Machine
from sky_sandbox.storage.outages import Outages
from sky_sandbox.traces import Replay, Track
from sky_sandbox.world import HIDDEN, Fault, World

Body = dict[str, Any]
MATCHABLE = ("id", "cloud", "region", "zone", "type", "market")


class Controlled(Protocol):
    """What the control API takes hold of: the sandbox's process, as far as it may change it.

    Attributes:
        token: The bearer token of its callers.
        over: Set to end the process.
    """

    token: str
    over: threading.Event
    world: World
    hypervisor: Hypervisor
    outages: Outages


def app(sandbox: Controlled) -> Starlette:
    """The control API, as an ASGI application."""
    api = Admin(sandbox)
    handlers: dict[str, Callable[[Body], Any]] = {
        "status": api.status,
        "machines": api.machines,
        "account": api.account,
        "move": api.move,
        "capacity": api.capacity,
        "quota": api.quota,
        "reserve": api.reserve,
        "unreserve": api.unreserve,
        "reservations": api.reservations,
        "preempt": api.preempt,
        "fault": api.fault,
        "hang": api.hang,
        "kill": api.kill,
        "remove": api.remove,
        "estrange": api.estrange,
        "storage_outage": api.storage_outage,
        "replay": api.replay,
        "audit": api.audit,
        "ledger": api.ledger,
        "reset": api.reset,
        "shutdown": api.shutdown,
    }
    return Starlette(
        routes=[
            Route(f"/{name}", _endpoint(sandbox.token, handler), methods=["POST"]) for name, handler in handlers.items()
        ]
        + [Route("/address", api.address, methods=["GET"])]
    )


def _endpoint(token: str, handler: Callable[[Body], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {token}"):
            return JSONResponse({"error": "the token of endpoints.json is missing"}, status_code=401)
        body = json.loads(await request.body() or b"{}")
        try:
            return JSONResponse(await run_in_threadpool(handler, body))
        except (KeyError, TypeError, ValueError, OSError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=400)

    return endpoint


def describe(machine: Machine) -> Body:
    """A machine without its keys and without the API server's own fields."""
    fields = {name: value for name, value in asdict(machine).items() if name not in HIDDEN}
    return {**fields, "boot_error": machine.extra.get("boot_error")}


class Admin:
    """The calls; each takes and returns JSON."""

    def __init__(self, sandbox: Controlled) -> None:
        self.sandbox = sandbox
        self.world = sandbox.world
        self.replays: list[Replay] = []
        self.account_at_start = self.world.account

    async def address(self, request: Request) -> Response:
        """Where whoever asks is seen, as plain text."""
        port = request.client.port if request.client else 0
        return Response(f"{self.world.seen_at(port)}\n", media_type="text/plain")

    def status(self, body: Body) -> Body:
        """What the sandbox is and how much of it there is."""
        live = self.world.live()
        server = psutil.Process()
        return {
            "pid": server.pid,
            "runner": self.sandbox.hypervisor.runner.name,
            "live": {cloud: sum(m.cloud == cloud for m in live) for cloud in self.world.notice_s},
            "capacity": [[*key, count] for key, count in sorted(self.world.capacity.items())],
            "quota": [[*key, vcpus] for key, vcpus in sorted(self.world.quota.items())],
            "faults": [asdict(fault) for fault in self.world.faults if fault.times > 0],
            "replaying": [replay.describe() for replay in self.replays if replay.running],
            "memory_mb": round(_memory(server) / 1e6),
        }

    def machines(self, body: Body) -> list[Body]:
        """All machines there ever were, the oldest first; ``live``: those not gone; ``tags``: those tagged so."""
        with self.world.lock:
            machines = list(self.world.machines.values())
        return [
            describe(machine)
            for machine in machines
            if (machine.state != "gone" or not body.get("live")) and _tagged(machine.tags, body)
        ]

    def capacity(self, body: Body) -> Body:
        """Limit (or with null free) the machines of a zone, type and market; ``evict`` preempts those above."""
        preempted = self.world.limit(
            body.get("zone", "*"), body.get("type", "*"), body["market"], body["count"], evict=body.get("evict", False)
        )
        return {"preempted": preempted}

    def account(self, body: Body) -> Body:
        """Let the account be as a profile says, but for what is told beside; without a profile as at the start."""
        profile = body.pop("profile", None)
        changes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in body.items()
        }
        with self.world.lock:
            self.world.account = replace(PROFILES[profile] if profile else self.account_at_start, **changes)
        self.world.mind_the_gates()
        return asdict(self.world.account)

    def move(self, body: Body) -> Body:
        """Let whoever drives the machines be seen elsewhere, and ask the firewalls whether it is let in."""
        self.world.move(*body["addresses"])
        return {}

    def quota(self, body: Body) -> Body:
        """Limit (or with null free) the vCPUs of a cloud's region."""
        key = (body["cloud"], body.get("region", "*"))
        with self.world.lock:
            if body["vcpus"] is None:
                self.world.quota.pop(key, None)
            else:
                self.world.quota[key] = int(body["vcpus"])
        return {}

    def reserve(self, body: Body) -> Body:
        """Reserve machines of a type in a zone, as the account's owner does; tells the reservation."""
        places = (body["cloud"], body["region"], body["zone"], body["type"], int(body["count"]))
        return asdict(self.world.reservations.make(*places, body.get("kind", "targeted"), body.get("ends_s")))

    def reservations(self, body: Body) -> list[Body]:
        """What is reserved, or was."""
        return [asdict(one) for one in list(self.world.reservations.known.values())]

    def unreserve(self, body: Body) -> Body:
        """Let a reservation be over, as its end or its owner does."""
        self.world.reservations.end(body["id"])
        return {}

    def preempt(self, body: Body) -> Body:
        """Preempt the live spot machines that match (all of them, if nothing is asked), or one by ``id``.

        Those whose end has been announced already are left to it.
        """
        wanted = {name: body[name] for name in MATCHABLE if body.get(name) is not None}
        tags = body.get("tags") or {}
        chosen = [
            machine.id
            for machine in self.world.live()
            if all(getattr(machine, name) == value for name, value in wanted.items())
            and all(machine.tags.get(name) == value for name, value in tags.items())
            and (machine.market == "spot" or "id" in wanted)
            and machine.notice_at is None
        ]
        for machine_id in chosen:
            self.world.preempt(machine_id, body.get("notice_s"))
        return {"preempted": chosen}

    def fault(self, body: Body) -> Body:
        """Add a fault; ``clear`` removes all there are first."""
        with self.world.lock:
            if body.pop("clear", False):
                self.world.faults.clear()
            if body:
                self.world.faults.append(Fault(**body))
        return {}

    def hang(self, body: Body) -> Body:
        """Freeze a machine without a word, or with ``hung: false`` let it go on."""
        self.sandbox.hypervisor.freeze(self.world.machines[body["id"]].id, body.get("hung", True))
        return {}

    def kill(self, body: Body) -> Body:
        """Let a machine's host fail."""
        self.world.stop(body["id"], "killed")
        return {}

    def remove(self, body: Body) -> Body:
        """Delete a machine by another hand than its owner's, as from the cloud's console."""
        self.world.stop(body["id"], "user")
        return {}

    def estrange(self, body: Body) -> Body:
        """Let a machine's host fail, and give its address to a stranger's machine, which has another host key."""
        machine = self.world.machines[body["id"]]
        self.world.stop(machine.id, "killed")
        self.sandbox.hypervisor.estrange(machine)
        return {}

    def storage_outage(self, body: Body) -> Body:
        """Let the object stores answer 503 for buckets of this prefix, for so many seconds from now."""
        self.sandbox.outages.add(body["prefix"], body["seconds"])
        return {}

    def replay(self, body: Body) -> Body:
        """Play spot traces, aligned in time; returns at once."""
        tracks = [Track.load(Path(t["path"]), t["zone"], t.get("type", "*"), t.get("count", 1)) for t in body["tracks"]]
        replay = Replay(self.world, tracks, speed=body["speed"], start_s=body.get("start_s", 0.0))
        self.replays.append(replay)
        replay.start()
        return replay.describe()

    def audit(self, body: Body) -> list[Body]:
        """The audit log, the oldest entry first."""
        return self.world.audit()

    def ledger(self, body: Body) -> list[Body]:
        """What the clouds bill, the oldest entry first; ``open``: what is billed now; ``tags``: what has them."""
        entries = self.world.ledger.entries(self.world.clock(), body.get("tags"))
        return [entry for entry in entries if entry["ended"] is None or not body.get("open")]

    def reset(self, body: Body) -> Body:
        """Kill all machines; forget limits, faults and replays."""
        for replay in self.replays:
            replay.stop()
        with self.world.lock:
            self.world.capacity.clear()
            self.world.quota.clear()
            self.world.faults.clear()
            self.world.account, self.world.caller_at = self.account_at_start, ()
            for forget in self.world.forgets:
                forget()
        self.world.close()
        self.world.reservations.forget()
        return {}

    def shutdown(self, body: Body) -> Body:
        """End the sandbox; the caller waits for its process to go."""
        self.sandbox.over.set()
        return {}


def _tagged(tags: Mapping[str, str], body: Body) -> bool:
    return all(tags.get(name) == value for name, value in (body.get("tags") or {}).items())


def _memory(server: psutil.Process) -> int:
    """Bytes of memory of the sandbox and all its machines, shared pages counted once where the system can tell."""
    total = 0
    for process in [server, *server.children(recursive=True)]:
        try:
            info = process.memory_full_info()
        except psutil.Error:
            continue
        total += getattr(info, "pss", info.uss)
    return total
