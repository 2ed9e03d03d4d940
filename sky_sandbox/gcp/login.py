"""A service account with a key of its own, and what its holder gets by it: tokens, or requests that it signs itself.

https://developers.google.com/identity/protocols/oauth2/service-account ("HTTP/REST", and "Service account authorization
without OAuth"): Google's libraries get a token for the object store, and sign for Compute Engine themselves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sky_sandbox.gcp.accounts import MACHINE
from sky_sandbox.logins import EVERYTHING, Login, Logins, Verdict

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCE = "https://oauth2.googleapis.com/token"  # what the libraries write, whatever token_uri is
LIFE_S = 3600.0
SKEW_S = 60.0  # clocks may differ a little
LENT = "ya29."  # how tokens begin that Google gives
EXCHANGES = ("/token", "/v1/token")  # where tokens are to be had; nobody needs one to get there
WHY = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
Bearer = Callable[[str], Login | Verdict]


class ServiceAccount:
    """Whoever drives, as one of a project's service accounts."""

    def __init__(self, logins: Logins, project: str) -> None:
        self._logins, self._project = logins, project
        self._key = generate_private_key(65537, 2048)
        self.email = f"driver@{project}.iam.gserviceaccount.com"

    def key_file(self, token_uri: str) -> str:
        """Its key as the console hands it out, once."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        told = {
            "type": "service_account",
            "project_id": self._project,
            "private_key_id": "0" * 40,
            "private_key": pem.decode(),
            "client_email": self.email,
            "client_id": "100000000000000000000",
            "token_uri": token_uri,
        }
        return json.dumps(told, indent=2)

    def bearer(self, token: str) -> Login | Verdict:
        """Whose request a token makes it: what the account has signed itself holds as long as a token would."""
        if token.count(".") != 2 or token.startswith(LENT):
            return self._logins.bearer(token, LENT)
        try:
            claims = self._claims(token)
        except ValueError:
            return "unknown"
        if not (claims.get("scope") or claims.get("aud")):
            return "unknown"
        ends = min(float(claims["exp"]), claims["iat"] + (self._logins.life_s or LIFE_S))
        return Login("", tuple(EVERYTHING), ends, self.email) if ends > self._logins.clock() else "expired"

    async def token(self, request: Request) -> Response:
        """The handler of ``POST /token``."""
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if form.get("grant_type") != GRANT:
            return _refused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        try:
            claims = self._claims(form.get("assertion", ""))
        except ValueError as error:
            return _refused("invalid_grant", str(error))
        if not claims.get("scope"):
            return _refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        if claims.get("aud") not in (AUDIENCE, str(request.url)):
            return _refused("invalid_grant", "Invalid JWT: Failed audience check.")
        name, login = self._logins.lend(LENT + "c.", EVERYTHING, LIFE_S, self.email)
        life = int(login.ends_at - self._logins.clock() + 0.5)
        return JSONResponse({"access_token": name, "expires_in": life, "token_type": "Bearer"})

    def _claims(self, signed: str) -> dict[str, Any]:
        """What the account has signed, not long ago.

        Raises:
            ValueError: Why Google takes it for nothing.
        """
        said, _, signature = signed.rpartition(".")
        try:
            header, claims = (json.loads(_decoded(part)) for part in said.split("."))
            algorithm, issuer = header["alg"], claims["iss"]
            begins, ends = float(claims["iat"]), float(claims["exp"])
        except (ValueError, KeyError, TypeError):
            raise ValueError("Invalid JWT: Malformed.") from None
        if issuer != self.email:
            raise ValueError("Invalid grant: account not found")
        try:
            self._key.public_key().verify(_decoded(signature), said.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            raise ValueError("Invalid JWT Signature.") from None
        now = self._logins.clock()
        if algorithm != "RS256" or not begins - SKEW_S <= now < ends or ends - begins > LIFE_S + SKEW_S:
            raise ValueError(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim."
            )
        return dict(claims)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _refused(code: str, why: str) -> Response:
    return JSONResponse({"error": code, "error_description": why}, status_code=400)


class Door:
    """Lets through to Google's APIs who is known there, and tells others so as these do.

    https://cloud.google.com/apis/design/errors, with the ``errors`` that Compute Engine's older form has besides.
    """

    def __init__(self, app: ASGIApp, bearer: Bearer) -> None:
        self._app, self._bearer = app, bearer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = Request(scope).headers.get("authorization", "").removeprefix("Bearer ")
        known = scope["path"] in EXCHANGES or token.startswith(MACHINE) or isinstance(self._bearer(token), Login)
        await (self._app if known else _turned_away())(scope, receive, send)


def _turned_away() -> Response:
    place = {"location": "Authorization", "locationType": "header"}
    entry = {"message": "Invalid Credentials", "domain": "global", "reason": "authError", **place}
    error = {"code": 401, "message": WHY, "errors": [entry], "status": "UNAUTHENTICATED"}
    return JSONResponse({"error": error}, 401, {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'})
