"""Credentials for a machine: a token of ours that is exchanged for one that reaches some prefixes of some buckets.

https://cloud.google.com/iam/docs/downscoping-short-lived-credentials
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from google.auth.transport.requests import Request
from google.oauth2 import sts

from sky_core.clouds.base import Loan, Reach
from sky_core.clouds.gcp.errors import cloud_errors

EXCHANGE = "https://sts.googleapis.com/v1/token"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
RULES = 10  # as many as a boundary may have


def lend(credentials: Any, reaches: Sequence[Reach], exchange: str = EXCHANGE) -> Loan:
    """A token that reaches these places, for as long as ours lasts: an hour at most.

    Raises:
        CloudError: if the login can lend none.
    """
    request = Request()
    with cloud_errors("lend a token"):
        if not credentials.valid:
            credentials.refresh(request)
        told = sts.Client(exchange).exchange_token(  # type: ignore[no-untyped-call]
            request, GRANT, credentials.token, ACCESS_TOKEN, requested_token_type=ACCESS_TOKEN,
            additional_options={"accessBoundary": {"accessBoundaryRules": rules(reaches)}},
        )  # fmt: skip
    expiry = getattr(credentials, "expiry", None)
    ours = expiry.timestamp() - time.timezone if expiry is not None else None
    ends_at = time.time() + told["expires_in"] if "expires_in" in told else ours
    return Loan({"access_token": told["access_token"]}, ends_at)


def rules(reaches: Sequence[Reach]) -> list[dict[str, Any]]:
    """One rule for each bucket and right, all its prefixes in one condition."""
    found: dict[tuple[str, bool], list[str]] = {}
    for reach in reaches:
        bucket, _, path = reach.url.partition("://")[2].partition("/")
        found.setdefault((bucket, reach.write), []).append(path.strip("/"))
    return [_rule(bucket, write, paths) for (bucket, write), paths in sorted(found.items())][:RULES]


def _rule(bucket: str, write: bool, paths: Sequence[str]) -> dict[str, Any]:
    role = "roles/storage.objectAdmin" if write else "roles/storage.objectViewer"
    rule: dict[str, Any] = {
        "availableResource": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        "availablePermissions": [f"inRole:{role}"],
    }
    if "" not in paths:
        tests = [test for path in sorted(set(paths)) for test in _tests(bucket, path)]
        rule["availabilityCondition"] = {"expression": " || ".join(tests)}
    return rule


def _tests(bucket: str, path: str) -> list[str]:
    """Objects at or below the path; and lists that ask for nothing else."""
    name = json.dumps(f"projects/_/buckets/{bucket}/objects/{path}")
    prefix = json.dumps(path)
    return [
        f"resource.name.startsWith({name})",
        f"api.getAttribute('storage.googleapis.com/objectListPrefix', '').startsWith({prefix})",
    ]
