"""Google's exchange of a token for one that may do less: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sky_sandbox.gcp.login import LENT, Bearer
from sky_sandbox.logins import Login, Logins

LIFE_S = 3600.0
MOST_RULES = 10
LONGEST = 2048  # https://cloud.google.com/iam/docs/reference/sts/rest/v1/AccessBoundary
KIND = "urn:ietf:params:oauth:token-type:access_token"


def token_exchange(logins: Logins, bearer: Bearer) -> Callable[[Request], Awaitable[Response]]:
    """The handler of ``POST /v1/token``. What was lent already lends nothing, and nothing outlives what lends it."""

    async def answer(request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        ours = bearer(form.get("subject_token", ""))
        if not isinstance(ours, Login) or not ours.own:
            return _refused("invalid_grant", "The subject token is not valid.")
        options = json.loads(unquote(form.get("options", "{}")))
        rules = options.get("accessBoundary", {}).get("accessBoundaryRules", [])
        if not 0 < len(rules) <= MOST_RULES:
            return _refused("invalid_request", f"An access boundary has 1 to {MOST_RULES} rules.")
        if any(len(one.get("availabilityCondition", {}).get("expression", "")) > LONGEST for one in rules):
            return _refused("invalid_request", f"An expression has at most {LONGEST} characters.")
        name, login = logins.lend(LENT, rules, min(LIFE_S, ours.ends_at - logins.clock()))
        life = int(login.ends_at - logins.clock() + 0.5)
        return JSONResponse({"access_token": name, "issued_token_type": KIND, "token_type": "Bearer",
                             "expires_in": life})  # fmt: skip

    return answer


def _refused(code: str, why: str) -> Response:
    return JSONResponse({"error": code, "error_description": why}, status_code=400)
