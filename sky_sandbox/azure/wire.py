"""The form of requests and replies of Azure Resource Manager.

https://learn.microsoft.com/en-us/azure/azure-resource-manager/management/async-operations (long-running operations),
https://learn.microsoft.com/en-us/azure/azure-resource-manager/troubleshooting/common-deployment-errors (codes).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

Body = dict[str, Any]

OPERATION = re.compile(r"^/subscriptions/[^/]+/(?P<style>operations|operationresults)/(?P<id>[0-9a-f]{32})$")
EQUALS = re.compile(r"(?P<field>\w+) eq '(?P<value>[^']*)'")
API_VERSION = "2024-01-01"

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
    "ResourceGroupDeletionBlocked": 409,
    "ExpiredAuthenticationToken": 401,
    "InvalidAuthenticationToken": 401,
    "AuthorizationFailed": 403,
    "RequestDisallowedByPolicy": 403,
    "MissingSubscriptionRegistration": 409,
    "ResourceGroupNotFound": 404,
    "PlatformImageNotFound": 404,
    "ResourceNotFound": 404,
    "SubscriptionNotFound": 404,
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
    """An error reply: ``{"error": {"code", "message"}}``; ``about`` fills in the known messages."""

    def __init__(self, code: str, message: str = "", about: Mapping[str, str] | None = None) -> None:
        text = message or MESSAGES.get(code, code).format_map({"type": "", "region": "", **(about or {})})
        super().__init__(text)
        self.code = code
        self.body: Body = {"code": code, "message": text}
        self.retry_after_s = 1.0

    def response(self) -> Response:
        headers = {"Retry-After": f"{self.retry_after_s:.0f}"} if self.code == "TooManyRequests" else {}
        if STATUS.get(self.code) == 401:
            why = 'error="invalid_token", error_description="The access token is invalid."'
            headers["WWW-Authenticate"] = f'Bearer authorization_uri="https://login.windows.net/", {why}'
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
    def kind(self) -> str:
        """The type of the resource that the path leads to, such as "Microsoft.Network/virtualNetworks", or ""."""
        provider = self.path.partition("/providers/")[2].split("/")
        return "/".join([provider[0], *provider[1::2]])

    @property
    def action(self) -> str:
        """The call as the audit log names it, e.g. ``virtualMachines.put``."""
        parts = self.path.split("/")
        if len(parts) <= 5:
            return f"resourceGroups.{self.method.lower()}"
        if self.method == "POST":
            return f"{parts[-3]}.{parts[-1]}"
        return f"{parts[7] if len(parts) > 7 else parts[-1]}.{self.method.lower()}"

    def wants(self, body: Body) -> bool:
        """Whether the request's ``$filter``, a conjunction of equations, lets this resource through."""
        wanted = {match["field"]: match["value"] for match in EQUALS.finditer(self.query.get("$filter", ""))}
        tags = body.get("tags") or {}
        return (
            wanted.get("tagName") in (None, *tags)
            and wanted.get("tagValue") in (None, tags.get(wanted.get("tagName")))
            and wanted.get("name") in (None, body["name"])
            and wanted.get("resourceType", "").lower() in ("", body["type"].lower())
        )


def no_group(call: Call) -> ArmError:
    """The refusal of whatever is asked about a group that there is not."""
    return ArmError("ResourceGroupNotFound", f"Resource group '{call.group}' could not be found.")


def page(bodies: Iterable[Body]) -> Response:
    return JSONResponse({"value": list(bodies)})


def shout(body: Body) -> Body:
    """The same resource with its group in capitals, as subscription-wide lists of the real service spell it."""
    parts = body["id"].split("/")
    parts[4] = parts[4].upper()
    return body | {"id": "/".join(parts)}


@dataclass(frozen=True)
class Operation:
    """A long-running operation; ``error`` is asked once it is done."""

    done: Callable[[], bool]
    error: Callable[[], Body | None] = lambda: None


@dataclass
class Operations:
    """All long-running operations, to be asked after at the addresses that the accepting replies gave."""

    known: dict[str, Operation] = field(default_factory=dict)

    def accept(self, call: Call, operation: Operation, status: int = 202, body: Body | None = None) -> Response:
        """The reply that accepts a request: with a body in the newer style, else polled by status code alone."""
        name, subscription = uuid.uuid4().hex, "/".join(call.path.split("/")[1:3])
        self.known[name] = operation
        style, header = ("operationresults", "Location") if body is None else ("operations", "Azure-AsyncOperation")
        headers = {header: f"{call.base}/{subscription}/{style}/{name}?api-version={API_VERSION}"}
        return Response(status_code=status, headers=headers) if body is None else JSONResponse(body, status, headers)

    def tell(self, style: str, name: str) -> Response:
        """How an operation stands.

        Raises:
            ArmError: if there is none of that name.
        """
        operation = self.known.get(name)
        if operation is None:
            raise ArmError("ResourceNotFound", f"There is no operation {name}.")
        done = operation.done()
        error = operation.error() if done else None
        if style == "operationresults":
            return JSONResponse({"error": error}, 409) if error else Response(status_code=200 if done else 202)
        if error is not None:
            return JSONResponse({"status": "Failed", "error": error})
        return JSONResponse({"status": "Succeeded" if done else "InProgress"})
