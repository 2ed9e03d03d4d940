"""Who speaks to Azure Resource Manager: a managed identity by tokens that end, or whoever has a token that never does.

The identity is one of App Service's kind, which gives tokens to whoever knows its header:
https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sky_sandbox.azure.resources import Entry
from sky_sandbox.azure.wire import ArmError, Call
from sky_sandbox.logins import EVERYTHING, Login, Logins

LIFE_S = 86400.0
LENT = "azure."  # how an identity's tokens begin
CLIENT = "00000000-0000-4000-8000-00000000d417"
RESOURCES = ("https://management.azure.com", "https://management.core.windows.net")
PATH = "/msi/token"


class ManagedIdentity:
    """The identity of the service in which whoever drives runs."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self.header = secrets.token_hex(16)

    def variables(self, base: str) -> str:
        """A shell's lines that make the SDK find it."""
        return f"export IDENTITY_ENDPOINT={base}{PATH}\nexport IDENTITY_HEADER={self.header}\n"

    async def token(self, request: Request) -> Response:
        """The handler of ``GET /msi/token``."""
        if request.headers.get("x-identity-header") != self.header:
            return JSONResponse({"statusCode": 401, "message": "Unauthorized"}, 401)
        resource = request.query_params.get("resource", "").rstrip("/")
        if resource not in RESOURCES:
            return JSONResponse({"statusCode": 400, "message": f"No such resource: {resource}"}, 400)
        name, login = self._logins.lend(LENT, EVERYTHING, LIFE_S, CLIENT)
        told = {"access_token": name, "expires_on": str(int(login.ends_at)), "resource": resource}
        return JSONResponse({**told, "token_type": "Bearer", "client_id": CLIENT})


def check_login(call: Call, logins: Logins, entries: Mapping[str, Entry]) -> None:
    """Let a call through whose token holds, and that may do what it wants.

    A machine's identity may do what a role that is assigned in its group lets it; everybody else may do all.

    Raises:
        ArmError: as Resource Manager words it.
    """
    kind, _, token = call.headers.get("authorization", "").partition(" ")
    if kind != "Bearer":
        raise ArmError("InvalidAuthenticationToken", "The 'Authorization' header is missing.")
    if token.startswith("identity "):
        _check_role(call, token.partition(" ")[2], entries)
        return
    verdict = logins.bearer(token, LENT)
    if verdict == "expired":
        ended, now = (_written(at) for at in (logins.ends_at(token), logins.clock()))
        why = f"The access token expiry UTC time '{ended}' is earlier than current UTC time '{now}'."
        raise ArmError("ExpiredAuthenticationToken", why)
    if not isinstance(verdict, Login):
        raise ArmError("InvalidAuthenticationToken", "The access token is invalid.")


def _check_role(call: Call, principal: str, entries: Mapping[str, Entry]) -> None:
    roles = [entry for entry in entries.values() if entry.type == "microsoft.authorization/roleassignments"]
    granted = {entry.body["id"].split("/")[4] for entry in roles if entry.properties.get("principalId") == principal}
    if call.group not in granted:
        raise ArmError("AuthorizationFailed")


def _written(at: float) -> str:
    return time.strftime("%m/%d/%Y %I:%M:%S %p", time.gmtime(at))
