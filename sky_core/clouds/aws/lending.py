"""Credentials for a machine: a session of its own that ends soon and reaches what its job needs, nothing else.

IAM users get one by ``GetFederationToken``, without any set-up. A login that is temporary itself (SSO, a role) may not
call that: it assumes ``machine_role``, else its own role, with the session narrowed by a policy.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access.html
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sky_core.clouds.aws.account.roles import role_of
from sky_core.clouds.aws.session import HOME_REGION, Session
from sky_core.clouds.base import Loan, Reach
from sky_core.errors import AuthError, CloudError

SHORTEST_S = 900  # of what STS lends
ROLES_S = 3600  # what every role allows, also one that was assumed by a role
MANY = (6, 2, 1)  # prefixes in one bucket, above which the folder that holds them all is named…
LONGEST = 2048  # …since a policy has no more characters than that
NAME = "skyloom-machine"
OBJECTS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]


def lend(session: Session, role: str | None, users_h: float, reaches: Sequence[Reach]) -> Loan:
    """Credentials that reach these places; ``users_h`` is how many hours they last that an IAM user lends.

    Raises:
        AuthError: if the login can lend none.
    """
    ours, policy = session.credentials(), session_policy(reaches)
    sts = session.client("sts", HOME_REGION)
    with session.errors(HOME_REGION):
        if role is None and ours is not None and ours.token is None:
            seconds = max(SHORTEST_S, round(users_h * 3600))
            reply = sts.get_federation_token(Name=NAME, Policy=policy, DurationSeconds=seconds)
        else:
            arn = role or _own_role(session, sts.get_caller_identity()["Arn"])
            try:
                reply = sts.assume_role(RoleArn=arn, RoleSessionName=NAME, Policy=policy, DurationSeconds=ROLES_S)
            except sts.exceptions.ClientError as error:
                raise _cannot(f"{arn} cannot be assumed: {error}") from error
    lent = reply["Credentials"]
    options = {"key": lent["AccessKeyId"], "secret": lent["SecretAccessKey"], "token": lent["SessionToken"]}
    return Loan(options, lent["Expiration"].timestamp())


def _own_role(session: Session, caller: str) -> str:
    arn = role_of(session, caller)
    if arn is None:
        raise _cannot(f"{caller} is a temporary login that is no role")
    return arn


def _cannot(why: str) -> CloudError:
    return AuthError(
        f"AWS: no credentials can be lent to a machine: {why}",
        cure="set machine_role (a role that you may assume) or machine_identity (an instance profile) in [clouds.aws]",
        code="CannotLend",
    )


def session_policy(reaches: Sequence[Reach]) -> str:
    """What the session may do, at most; its maker's own rights end it, too. As narrow as ``LONGEST`` lets it be."""
    policies = (json.dumps(_policy(reaches, many), separators=(",", ":")) for many in MANY)
    return min(policies, key=lambda policy: max(len(policy), LONGEST))


def _policy(reaches: Sequence[Reach], many: int) -> dict[str, Any]:
    """The policy that names up to so many prefixes in a bucket.

    To list, a name must be asked for, so that other jobs' are not shown. ``IfExists``, since a look at one object names
    no prefix: S3 says "not found" only to who may list, else "forbidden".
    """
    written, read = _by_bucket(reaches, many, write=True), _by_bucket(reaches, many, write=False)
    statements = [
        _statement(actions, [f"arn:aws:s3:::{bucket}/{path}" for bucket, paths in places.items() for path in paths])
        for actions, places in ((OBJECTS, written), (["s3:GetObject"], read))
        if places
    ]
    for bucket in sorted({*written, *read}):
        prefixes = sorted({*written.get(bucket, ()), *read.get(bucket, ())})
        one = _statement(["s3:ListBucket"], [f"arn:aws:s3:::{bucket}"])
        statements.append({**one, "Condition": {"StringLikeIfExists": {"s3:prefix": prefixes}}})
    return {"Version": "2012-10-17", "Statement": statements}


def _statement(actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


def _by_bucket(reaches: Sequence[Reach], many: int, *, write: bool) -> dict[str, list[str]]:
    """Patterns of keys, by bucket."""
    found: dict[str, set[str]] = defaultdict(set)
    for reach in reaches:
        if reach.write == write:
            bucket, _, path = reach.url.partition("://")[2].partition("/")
            found[bucket].add(path.rstrip("/"))
    return {bucket: _patterns(paths, many) for bucket, paths in sorted(found.items())}


def _patterns(paths: set[str], many: int) -> list[str]:
    if len(paths) > many:
        paths = {os.path.commonpath(sorted(paths))}
    return sorted(pattern for path in paths for pattern in ([path, f"{path}/*"] if path else ["*"]))
