"""How Google's REST APIs speak: errors, operations, filters, pages, and how injected faults show in them."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sky_sandbox.accounts.refusals import gcp_refusal, host_refusal
from sky_sandbox.accounts.rights import gcp_needs
from sky_sandbox.gcp.accounts import MACHINE, denied
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import CALLER, World

API = "https://www.googleapis.com/compute/v1"
Resource = dict[str, Any]

# HTTP status of the reasons that Compute Engine gives; an injected code that is a number is its own status.
STATUS_OF_REASON = {
    "invalid": 400,
    "required": 400,
    "authError": 401,
    "forbidden": 403,
    "accessNotConfigured": 403,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "notFound": 404,
    "alreadyExists": 409,
    "conditionNotMet": 412,
    "internalError": 500,
    "backendError": 503,
}


class ApiError(Exception):
    """An error reply."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def reply(self) -> JSONResponse:
        """As Compute Engine words it."""
        entry = {"message": self.message, "domain": "global", "reason": self.reason}
        return JSONResponse(
            {"error": {"code": self.status, "message": self.message, "errors": [entry]}}, status_code=self.status
        )


def not_found(path: str) -> ApiError:
    """A resource that is not there; ``path`` starts with "projects/"."""
    return ApiError(404, "notFound", f"The resource '{path}' was not found")


def invalid(field_: str, value: object, why: str) -> ApiError:
    """A field that cannot be meant."""
    return ApiError(400, "invalid", f"Invalid value for field '{field_}': '{value}'. {why}")


@dataclass
class Call:
    """One API call: path parameters, query and JSON body; ``refusal`` is an operation error injected into it.

    ``caller`` is the bearer token that it came with: the sandbox takes any.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Resource = field(default_factory=dict)
    refusal: str = ""
    caller: str = ""


Handler = Callable[[Call], Resource]
About = Callable[[Call], dict[str, str]]


def endpoint(
    world: World, action: str, handler: Handler, about: About, *, word: Callable[[ApiError], Response] = ApiError.reply
) -> Callable[[Request], Any]:
    """The ASGI endpoint of one API method: meets injected faults, then answers what ``handler`` returns.

    An injected code in capitals on a creating call fails the operation; any other fails the call itself.
    """
    creates = action.endswith((".insert", ".create"))

    def answer(call: Call) -> Response:
        CALLER.set(call.caller)
        try:
            network, subnetwork, public = _interface(_asked_for(call.body))
            needs = list(gcp_needs(action, public, bool(call.body.get("serviceAccounts"))))
            if refusal := gcp_refusal(world.account, action, about(call).get("region", ""), network, public, needs):
                raise ApiError(*refusal)
            project = call.path.get("project", "")
            if needs and (refusal := host_refusal(world.account, project, network, subnetwork, needs)):
                raise ApiError(*refusal)
            if call.caller.startswith(MACHINE) and (right := next((n for n in needs if denied(call.caller, n)), None)):
                raise ApiError(403, "forbidden", f"Required '{right}' permission for the project")
            fault = world.fault("gcp", action, **about(call))
            if fault is not None and fault.kind == "slow":
                time.sleep(fault.seconds)
            if fault is not None and fault.kind == "error":
                if not (creates and fault.code.isupper()):
                    raise _injected(fault.code, fault.message)
                call.refusal = fault.code
            resource = handler(call)
            if action.startswith("firewalls."):
                world.mind_the_gates()
            if fault is not None and fault.kind == "lost":
                raise _injected(fault.code or "backendError", fault.message)
        except ApiError as error:
            return word(error)
        return JSONResponse(resource)

    async def serve(request: Request) -> Response:
        body = await request.body()
        caller = request.headers.get("authorization", "").removeprefix("Bearer ")
        call = Call(request.path_params, request.query_params, json.loads(body) if body else {}, caller=caller)
        return await run_in_threadpool(answer, call)

    return serve


def _asked_for(body: Resource) -> Resource:
    """What a request is about: of a queued resource, the node that it waits for."""
    specs = body.get("tpu", {}).get("nodeSpec", [])
    return specs[0].get("node", {}) if specs else body


def _interface(body: Resource) -> tuple[str, str, bool]:
    """Network and subnetwork that a request names, of a machine, a cluster or a rule; whether it wants an address."""
    cluster = body.get("config", {}).get("gceClusterConfig", {})
    if cluster:
        return str(cluster.get("networkUri", "")), str(cluster.get("subnetworkUri", "")), False
    first = next(iter(body.get("networkInterfaces", ())), body.get("networkConfig", body))
    public = bool(first.get("accessConfigs")) or bool(first.get("enableExternalIps"))
    return str(first.get("network", "")), str(first.get("subnetwork", "")), public


def _injected(code: str, message: str) -> ApiError:
    status = int(code) if code.isdigit() else STATUS_OF_REASON.get(code, 500)
    reason = next((name for name, value in STATUS_OF_REASON.items() if value == status), "backendError")
    words = message or "The service is currently unavailable (sandbox fault)."
    return ApiError(status, reason if code.isdigit() else code, words)


def add(world: World, machine: Machine) -> None:
    """Have a machine in the account. A name may be used again; its former bearer keeps its place in the history."""
    with world.lock:
        before = world.machines.pop(machine.id, None)
        if before is not None:
            before.id = f"{before.id}@{before.created_at:.3f}"
            world.machines[before.id] = before
        world.machines[machine.id] = machine


def start(world: World, machine: Machine) -> None:
    """Start a machine that has not been there before."""
    with world.lock:
        add(world, machine)
        world.start(machine)


def fingerprint(labels: Mapping[str, str]) -> str:
    """As Google does, a short hash that changes when the labels do."""
    return uuid.uuid5(uuid.NAMESPACE_OID, repr(sorted(labels.items()))).hex[:12]


def timestamp(seconds: float) -> str:
    """RFC 3339 with milliseconds, as Google writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def numeric_id() -> str:
    """An id such as Google gives to resources."""
    return str(random.randrange(10**18, 9 * 10**18))  # noqa: S311


def page(kind: str, items: Iterable[Resource], call: Call, key: str = "items") -> Resource:
    """One page of a list reply; page tokens are offsets."""
    everything = list(items)
    start = int(call.query.get("pageToken") or 0)
    size = int(call.query.get("maxResults") or 500)
    reply: Resource = {"kind": kind, key: everything[start : start + size]}
    if start + size < len(everything):
        reply["nextPageToken"] = str(start + size)
    return reply


# --- filters -------------------------------------------------------------------------------------------------

TERM = re.compile(r"""^\s*(?P<path>[\w.\-]+)\s*(?P<op>!=|=|:|\beq\b|\bne\b)\s*(?P<value>"[^"]*"|'[^']*'|\S+)\s*$""")


def matches(resource: Mapping[str, Any], expression: str) -> bool:
    """Whether a resource passes a list filter: terms joined by AND, or side by side in parentheses.

    ``=`` and ``!=`` compare, ``:*`` asks for presence, ``eq`` and ``ne`` match a whole regular expression; as on
    Google Cloud, the latter two go with nothing else.

    Raises:
        ApiError: for an expression outside this subset.
    """
    if not expression:
        return True
    parts = [part.strip() for part in re.split(r"\s+AND\s+|(?<=\))\s*(?=\()", expression)]
    found = [TERM.match(part[1:-1] if part.startswith("(") and part.endswith(")") else part) for part in parts]
    terms = [term for term in found if term is not None]
    mixed = len(terms) > 1 and any(term["op"] in ("eq", "ne") for term in terms)
    if len(terms) < len(parts) or mixed:
        raise invalid("filter", expression, "Invalid list filter expression.")
    return all(_passes(resource, term) for term in terms)


def _passes(resource: Mapping[str, Any], term: re.Match[str]) -> bool:
    value: Any = resource
    for step in term["path"].split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    wanted = term["value"].strip("\"'")
    match term["op"]:
        case ":":
            return value is not None if wanted == "*" else wanted in str(value)
        case "eq" | "ne":
            found = value is not None and re.fullmatch(wanted, str(value)) is not None
            return found == (term["op"] == "eq")
        case "=":
            return str(value) == wanted
        case _:
            return str(value) != wanted


# --- operations ----------------------------------------------------------------------------------------------


@dataclass
class Operation:
    """A Compute operation.

    ``finished`` tells whether it is over, ``ended_at`` since when, if not at once; ``errors`` what it then says went
    wrong.
    """

    resource: Resource
    finished: Callable[[], bool]
    errors: list[Resource] = field(default_factory=list)
    http: tuple[int, str] = (0, "")
    ended_at: Callable[[], float | None] = lambda: None

    def view(self) -> Resource:
        """The operation as the API shows it now."""
        if not self.finished():
            return {**self.resource, "status": "RUNNING", "progress": 0}
        view = {**self.resource, "status": "DONE", "progress": 100}
        ended = self.ended_at()
        view["endTime"] = self.resource["insertTime"] if ended is None else timestamp(ended)
        if self.errors:
            status, message = self.http
            view |= {"error": {"errors": self.errors}, "httpErrorStatusCode": status, "httpErrorMessage": message}
        return view


def operation_resource(
    project: str,
    scope: str,
    kind: str,
    target: str,
    at: float,
    *,
    name: str,
    target_id: str,
    user: str = "dev@sandbox",
) -> Resource:
    """The fixed part of an operation on ``target`` ("instances/x") in ``scope`` ("zones/z" or "global")."""
    root = f"{API}/projects/{project}/{scope}"
    resource = {
        "kind": "compute#operation",
        "id": numeric_id(),
        "name": name,
        "operationType": kind,
        "targetLink": f"{root}/{target}",
        "targetId": target_id,
        "user": user,
        "insertTime": timestamp(at),
        "startTime": timestamp(at),
        "selfLink": f"{root}/operations/{name}",
    }
    if scope.startswith("zones/"):
        resource["zone"] = root
    return resource
