"""The role of a login that is temporary.

STS names a session's role without the path that IAM has it under, as those of Identity Center do
(``aws-reserved/sso.amazonaws.com/REGION/AWSReservedSSO_…``), and IAM and STS know it by nothing but its whole name.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
"""

from __future__ import annotations

import re

from botocore.exceptions import ClientError

from sky_core.clouds.aws.session import HOME_REGION, Session

ASSUMED = re.compile(r"^arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/")
DENIED = frozenset({"AccessDenied", "UnauthorizedOperation"})


def role_of(session: Session, caller: str) -> str | None:
    """The ARN of the role that a caller's session is of, None for who is no role.

    It is looked up (``iam:GetRole``); without the right to, it is taken to be without a path, as most are.
    """
    match = ASSUMED.match(caller)
    if match is None:
        return None
    try:
        return str(session.client("iam", HOME_REGION).get_role(RoleName=match["role"])["Role"]["Arn"])
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
    return f"arn:{match['partition']}:iam::{match['account']}:role/{match['role']}"
