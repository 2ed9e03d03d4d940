"""The metadata service of each machine, as its cloud has it: identity, and the notice of a coming eviction.

One thread serves all machines, each on the machine's own address, so that who asks is known by where it asked.
Formats: AWS https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html (IMDSv2 only),
GCE https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys,
Azure https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events and …/instance-metadata-service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from aiohttp import web

from sky_sandbox.gcp import accounts
from sky_sandbox.machines.record import Machine

GCE_HEADERS = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}


@dataclass
class Notice:
    """An announced eviction at ``at`` (seconds since the epoch, by the services' clock)."""

    at: float
    event_id: str = field(default_factory=lambda: secrets.token_hex(16).upper())


@dataclass
class Service:
    """What the metadata service of one machine knows."""

    machine: Machine
    site: web.TCPSite | None = None
    notice: Notice | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    tokens: dict[str, float] = field(default_factory=dict)  # IMDSv2 session token -> expiry


class Metadata:
    """Metadata services of all machines, at one port of each machine's address.

    Attributes:
        behind_s: Seconds that the services' clock is behind that of the machines.
    """

    def __init__(self, port: int, behind_s: float = 0.0) -> None:
        self.port, self.behind_s = port, behind_s
        self._services: dict[str, Service] = {}  # by address
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="metadata", daemon=True)
        self._thread.start()
        self._runner: web.AppRunner = self._call(self._start())

    def add(self, machine: Machine) -> None:
        """Start the service of a machine.

        Raises:
            OSError: if its address cannot be bound.
        """
        self._call(self._add(machine))

    def remove(self, machine: Machine) -> None:
        """End the service of a machine, if there is one."""
        self._call(self._remove(machine))

    def announce(self, machine: Machine, seconds: float) -> None:
        """Tell the machine that it will be evicted in ``seconds``."""
        self._call(self._announce(machine, time.time() + seconds - self.behind_s))

    def close(self) -> None:
        """End all services."""
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        return runner

    async def _add(self, machine: Machine) -> None:
        service = Service(machine, web.TCPSite(self._runner, machine.ip, self.port))
        assert service.site is not None
        await service.site.start()
        self._services[machine.ip] = service

    async def _remove(self, machine: Machine) -> None:
        service = self._services.pop(machine.ip, None)
        if service is not None and service.site is not None:
            await service.site.stop()

    async def _announce(self, machine: Machine, at: float) -> None:
        if service := self._services.get(machine.ip):
            service.notice = Notice(at)
            service.changed.set()

    async def _handle(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        answer.headers["Date"] = formatdate(time.time() - self.behind_s, usegmt=True)
        return answer

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        service = self._services.get(request.transport.get_extra_info("sockname")[0])
        if service is None:
            return web.Response(status=404)
        if service.machine.cloud == "aws":
            return _aws(service, request)
        if service.machine.cloud == "gcp":
            return await _gce(service, request)
        return await _azure(service, request)


def _aws(service: Service, request: web.Request) -> web.Response:
    machine, path = service.machine, request.path.rstrip("/")
    if request.method == "PUT" and path == "/latest/api/token":
        ttl = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not ttl.isdigit():
            return web.Response(status=400)
        token = secrets.token_urlsafe(32)
        service.tokens[token] = time.time() + int(ttl)
        return web.Response(text=token, headers={"X-aws-ec2-metadata-token-ttl-seconds": ttl})
    if service.tokens.get(request.headers.get("X-aws-ec2-metadata-token", ""), 0) < time.time():
        return web.Response(status=401)
    identity = {
        "instanceId": machine.id,
        "region": machine.region,
        "availabilityZone": machine.zone,
        "instanceType": machine.type,
        "privateIp": machine.ip,
    }
    values = {
        "/latest/meta-data/instance-id": machine.id,
        "/latest/meta-data/instance-type": machine.type,
        "/latest/meta-data/instance-life-cycle": machine.market,
        "/latest/meta-data/local-ipv4": machine.ip,
        "/latest/meta-data/public-ipv4": machine.ip,
        "/latest/meta-data/placement/region": machine.region,
        "/latest/meta-data/placement/availability-zone": machine.zone,
        "/latest/dynamic/instance-identity/document": json.dumps(identity),
        "/latest/user-data": machine.user_data,
    }
    if service.notice:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(service.notice.at))
        values["/latest/meta-data/spot/instance-action"] = json.dumps({"action": "terminate", "time": at})
        values["/latest/meta-data/spot/termination-time"] = at
    return web.Response(text=values[path]) if path in values else web.Response(status=404)


def _account(machine: Machine) -> str:
    """The email of its service account, or nothing for the project's default one."""
    accounts = [machine.extra.get("node", {}).get("serviceAccount", {})]
    accounts += machine.extra.get("resource", {}).get("serviceAccounts", [])
    return next((email for account in accounts if (email := account.get("email"))), "")


def _scopes(machine: Machine) -> str:
    """What the tokens of its service account are good for, by the last words of the scopes that its body asked for."""
    node = machine.extra.get("node", {}).get("serviceAccount", {}).get("scope", [])
    accounts = machine.extra.get("resource", {}).get("serviceAccounts", [])
    scopes = [*node, *(scope for account in accounts for scope in account.get("scopes", ()))]
    return " ".join(scope.rpartition("/")[2] for scope in scopes)


async def _gce(service: Service, request: web.Request) -> web.Response:
    machine = service.machine
    if request.path == "/":  # google-auth asks whether this is GCE
        return web.Response(text="computeMetadata/\n", headers=GCE_HEADERS)
    if request.headers.get("Metadata-Flavor") != "Google":
        return web.Response(status=403, headers=GCE_HEADERS)
    key = request.path.removeprefix("/computeMetadata/v1/").rstrip("/")
    watched = key in ("instance/preempted", "instance/maintenance-event")
    if watched and request.query.get("wait_for_change") == "true" and service.notice is None:
        with contextlib.suppress(TimeoutError):  # the answer is then the unchanged value
            await asyncio.wait_for(service.changed.wait(), float(request.query.get("timeout_sec", "3600")))
    values = {
        "instance/preempted": "TRUE" if service.notice else "FALSE",
        "instance/maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE" if service.notice else "NONE",
        "instance/name": machine.id.rsplit("/", 1)[-1],
        "instance/zone": f"projects/1/zones/{machine.zone}",
        "instance/machine-type": f"projects/1/machineTypes/{machine.type}",
        "instance/network-interfaces/0/ip": machine.ip,
        "instance/attributes/user-data": machine.user_data,
        **{f"instance/attributes/{key}": value for key, value in machine.extra.get("metadata", {}).items()},
        "project/project-id": machine.extra.get("project", "sandbox"),
    }
    if scopes := _scopes(machine):  # without an account there are no tokens
        values["instance/service-accounts/default/token"] = json.dumps(
            {"access_token": accounts.token(_account(machine), scopes), "expires_in": 3599, "token_type": "Bearer"}
        )
    if key not in values:
        return web.Response(status=404, headers=GCE_HEADERS)
    headers = {**GCE_HEADERS, "ETag": format(hash(values[key]) & 0xFFFFFFFFFFFFFFFF, "x")}
    return web.Response(text=values[key], content_type="application/text", headers=headers)


async def _azure(service: Service, request: web.Request) -> web.Response:
    if request.headers.get("Metadata", "").lower() != "true":
        return web.json_response({"error": "Bad request. Required metadata header not specified"}, status=400)
    machine, notice = service.machine, service.notice
    name = machine.id.rsplit("/", 1)[-1]
    if request.path == "/metadata/scheduledevents":
        if request.method == "POST":  # "go on, do not wait for NotBefore": evictions wait all the same
            return web.Response()
        event = notice and {
            "EventId": notice.event_id,
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [name],
            "EventStatus": "Scheduled",
            "NotBefore": formatdate(notice.at, usegmt=True),
            "Description": "",
            "EventSource": "Platform",
            "DurationInSeconds": -1,
        }
        return web.json_response({"DocumentIncarnation": 2 if event else 1, "Events": [event] if event else []})
    if request.path == "/metadata/instance":
        compute = {
            "name": name,
            "resourceId": machine.id,
            "location": machine.region,
            "zone": machine.zone.rsplit("-", 1)[-1],
            "vmSize": machine.type,
            "priority": "Spot" if machine.market == "spot" else "Regular",
        }
        return web.json_response({"compute": compute})
    if request.path == "/metadata/identity/oauth2/token":
        principal = _principal(machine.extra.get("identities", {}), request.query.get("msi_res_id"))
        if principal is None:
            return web.json_response(
                {"error": "invalid_request", "error_description": "Identity not found"}, status=400
            )
        return web.json_response({"access_token": f"identity {principal}", "token_type": "Bearer"})
    return web.Response(status=404)


def _principal(identities: dict[str, str], asked: str | None) -> str | None:
    """Whose token is given: the identity's that is asked for by its id, else the machine's own, else the only one's.

    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    """
    if asked is not None:
        return identities.get(asked.lower())
    return identities.get("") or (next(iter(identities.values())) if len(identities) == 1 else None)
