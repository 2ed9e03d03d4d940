"""STS as far as it lends: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from sky_sandbox.aws.ec2 import ACCOUNT
from sky_sandbox.aws.iam import is_role
from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.logins import EVERYTHING, Login, Logins

TELLS = "GetCallerIdentity"
LENDS = ("GetFederationToken", "AssumeRole", "GetSessionToken")
OF_AN_SSO = "AWSReservedSSO_"  # roles that only Identity Center itself may assume
LONGEST_POLICY = 2048
SIZE = "<PackedPolicySize>6</PackedPolicySize>"
LIFE_S = {"GetFederationToken": 43200, "AssumeRole": 3600, "GetSessionToken": 43200}


def sts_reply(action: str, parameters: Mapping[str, str], logins: Logins, caller: Login | None) -> bytes:
    """The reply to a call that lends; ``caller`` is the session that asks, None for one's own keys.

    Raises:
        AwsError: where STS would refuse.
    """
    if caller is not None and action != "AssumeRole":
        raise AwsError("AccessDenied", f"Cannot call {action} with session credentials")
    arn = parameters.get("RoleArn", "")
    role = arn.rpartition("/")[2]
    if action == "AssumeRole" and (role.startswith(OF_AN_SSO) or not is_role(arn)):
        raise AwsError("AccessDenied", f"User is not authorized to perform: sts:AssumeRole on resource: {arn}")
    policy = parameters.get("Policy", "")
    if len(policy) > LONGEST_POLICY:
        raise AwsError("PackedPolicyTooLarge", "Packed policy consumes more than 100% of allotted space")
    statements = json.loads(policy)["Statement"] if policy else EVERYTHING
    seconds = float(parameters.get("DurationSeconds", LIFE_S[action]))
    name = parameters.get("Name") or parameters.get("RoleSessionName", "")
    who = {
        "GetFederationToken": f"arn:aws:sts::{ACCOUNT}:federated-user/{name}",
        "AssumeRole": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        "GetSessionToken": f"arn:aws:iam::{ACCOUNT}:user/sandbox",
    }[action]
    key, login = logins.lend("ASIA", statements, seconds, who)
    user = escape(f"{ACCOUNT}:{name}")
    arn = f"<Arn>{escape(who)}</Arn>"
    about = {
        "GetFederationToken": f"<FederatedUser><FederatedUserId>{user}</FederatedUserId>{arn}</FederatedUser>{SIZE}",
        "AssumeRole": f"<AssumedRoleUser><AssumedRoleId>{user}</AssumedRoleId>{arn}</AssumedRoleUser>{SIZE}",
    }.get(action, "")
    ends = datetime.fromtimestamp(login.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret-of-{key}</SecretAccessKey>
<SessionToken>{escape(login.secret)}</SessionToken><Expiration>{ends}</Expiration></Credentials>
{about}</{action}Result>
<ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata></{action}Response>""".encode()


def whoami(caller: Login) -> bytes:
    """The reply to GetCallerIdentity of a session."""
    name = escape(caller.who.rpartition("/")[2])
    return f"""<{TELLS}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{TELLS}Result>
<Arn>{escape(caller.who)}</Arn><UserId>AROASKYLOOM:{name}</UserId><Account>{ACCOUNT}</Account></{TELLS}Result>
<ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata></{TELLS}Response>""".encode()
