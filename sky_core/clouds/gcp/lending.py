"""Credentials for a machine: a token of ours that is exchanged for one that reaches some prefixes of some buckets.

https://cloud.google.com/iam/docs/downscoping-short-lived-credentials
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from posixpath import commonpath
from typing import Any

from google.auth.transport.requests import Request
from google.oauth2 import sts

from sky_core.clouds.base import Loan, Reach
from sky_core.clouds.gcp.errors import cloud_errors
from sky_core.errors import AuthError

EXCHANGE = "https://sts.googleapis.com/v1/token"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
# Of a boundary: https://cloud.google.com/iam/docs/reference/sts/rest/v1/AccessBoundary
RULES = 10  # as many as it may have…
LONGEST = 2048  # …with as many characters in the expression of each
OR = " || "
LISTED = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')"


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
    """The boundary: a rule or more for each bucket and right, as narrow as its limits let it be.

    Raises:
        AuthError: for more buckets than a boundary can hold.
    """
    places: dict[tuple[str, bool], set[str]] = defaultdict(set)
    for reach in reaches:
        bucket, _, path = reach.url.partition("://")[2].partition("/")
        places[bucket, reach.write].add(path.strip("/"))
    exact = [rule for where, paths in sorted(places.items()) for rule in _rules(*where, paths)]
    if len(exact) <= RULES:
        return exact
    wide = [rule for where, paths in sorted(places.items()) for rule in _rules(*where, {commonpath(sorted(paths))})]
    if len(wide) <= RULES:
        return wide
    raise AuthError(
        f"Google Cloud: no credentials can be lent to a machine: a token reaches {RULES} buckets at most, to read or to"
        f" write, and this task has {len(places)}",
        cure="set machine_identity (a service account) in [clouds.gcp], or put its data into fewer buckets",
        code="CannotLend",
    )


def _rules(bucket: str, write: bool, paths: set[str]) -> Iterator[dict[str, Any]]:
    """Rules for one bucket and right, each with as many paths as its expression holds."""
    role = "roles/storage.objectAdmin" if write else "roles/storage.objectViewer"
    rule: dict[str, Any] = {
        "availableResource": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        "availablePermissions": [f"inRole:{role}"],
    }
    if "" in paths:
        yield rule
        return
    expression = ""
    for path in sorted(paths):
        test = _test(bucket, path)
        if expression and len(expression) + len(OR) + len(test) > LONGEST:
            yield {**rule, "availabilityCondition": {"expression": expression}}
            expression = ""
        expression += OR + test if expression else test
    yield {**rule, "availabilityCondition": {"expression": expression}}


def _test(bucket: str, path: str) -> str:
    """For the object or the folder of this path, no name that only begins like it; and for lists of nothing else."""
    name = f"projects/_/buckets/{bucket}/objects/{path}"
    tests = [
        f"resource.name == {json.dumps(name)}",
        f"resource.name.startsWith({json.dumps(name + '/')})",
        f"{LISTED} == {json.dumps(path)}",
        f"{LISTED}.startsWith({json.dumps(path + '/')})",
    ]
    return OR.join(tests)
