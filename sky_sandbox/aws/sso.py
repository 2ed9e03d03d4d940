"""IAM Identity Center, as far as ``aws sso login`` and the SDKs need it: a login by device, and credentials for it.

https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference and …/PortalAPIReference. Nobody is asked anything: a
device that wants to be let in is. There are no refresh tokens, so a login is over when its token is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from sky_sandbox.logins import EVERYTHING, Login, Logins

PERMISSION_SET = "Skyloom"
ROLE = f"AWSReservedSSO_{PERMISSION_SET}_0123456789abcdef"  # what Identity Center makes of it
TOKEN_S, ROLE_S = 8 * 3600.0, 3600.0
Json = dict[str, Any]


class Sso:
    """The two services by their paths, which are signed by nobody."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins
        self._paths: Mapping[str, Callable[[str, str], tuple[int, Json]]] = {
            "/client/register": self._register,
            "/device_authorization": self._authorize,
            "/token": self._token,
            "/federation/credentials": self._credentials,
        }

    def knows(self, path: str) -> bool:
        """Whether a request is for one of them."""
        return path in self._paths

    def answer(self, path: str, query: str, bearer: str) -> tuple[str, bytes]:
        """Status and body of the reply to an SDK's request, with the token that it shows."""
        status, body = self._paths[path](query, bearer)
        return f"{status} {HTTPStatus(status).phrase}", json.dumps(body).encode()

    def _register(self, query: str, bearer: str) -> tuple[int, Json]:
        now = int(self._logins.clock())
        return 200, {
            "clientId": secrets.token_hex(8),
            "clientSecret": secrets.token_hex(16),
            "clientIdIssuedAt": now,
            "clientSecretExpiresAt": now + 90 * 86400,
        }

    def _authorize(self, query: str, bearer: str) -> tuple[int, Json]:
        page = "https://sandbox.awsapps.com/start/#/device"
        return 200, {
            "deviceCode": secrets.token_hex(8),
            "userCode": "SKYL-OOMS",
            "verificationUri": page,
            "verificationUriComplete": f"{page}?user_code=SKYL-OOMS",
            "expiresIn": 600,
            "interval": 1,
        }

    def _token(self, query: str, bearer: str) -> tuple[int, Json]:
        name, login = self._logins.lend("sso-", [], TOKEN_S)
        life = round(login.ends_at - self._logins.clock())
        return 200, {"accessToken": name, "tokenType": "Bearer", "expiresIn": life}

    def _credentials(self, query: str, bearer: str) -> tuple[int, Json]:
        if not bearer.startswith("sso-") or not isinstance(self._logins.find(bearer), Login):
            return 401, {"__type": "UnauthorizedException", "message": "Session token not found or invalid"}
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        if asked.get("role_name") != PERMISSION_SET:
            return 403, {"__type": "ForbiddenException", "message": "No access"}
        who = f"arn:aws:sts::{asked['account_id']}:assumed-role/{ROLE}/somebody"
        key, login = self._logins.lend("ASIA", EVERYTHING, ROLE_S, who)
        lent = {
            "accessKeyId": key,
            "secretAccessKey": f"secret-of-{key}",
            "sessionToken": login.secret,
            "expiration": int(login.ends_at * 1000),
        }
        return 200, {"roleCredentials": lent}


def aws_config(endpoint: str, account: str) -> str:
    """The ``config`` of the AWS CLI and the SDKs that leads here: https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html"""
    return f"""\
[sso-session sandbox]
sso_start_url = https://sandbox.awsapps.com/start
sso_region = us-east-1

[profile sandbox]
sso_session = sandbox
sso_account_id = {account}
sso_role_name = {PERMISSION_SET}
region = us-east-1
services = sandbox

[services sandbox]
sso =
  endpoint_url = {endpoint}
sso_oidc =
  endpoint_url = {endpoint}
"""
