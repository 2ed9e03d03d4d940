"""STS as far as it lends: https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from sky_sandbox.aws.ec2 import ACCOUNT, AwsError
from sky_sandbox.logins import Logins

LENDS = ("GetFederationToken", "AssumeRole")
LONGEST_POLICY = 2048
LIFE_S = {"GetFederationToken": 43200, "AssumeRole": 3600}


def sts_reply(action: str, parameters: Mapping[str, str], logins: Logins) -> bytes:
    """The reply to a call that lends.

    Raises:
        AwsError: where STS would refuse.
    """
    policy = parameters.get("Policy", "")
    if len(policy) > LONGEST_POLICY:
        raise AwsError("PackedPolicyTooLarge", "Packed policy consumes more than 100% of allotted space")
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    statements = json.loads(policy)["Statement"] if policy else everything
    seconds = float(parameters.get("DurationSeconds", LIFE_S[action]))
    key, login = logins.lend("ASIA", statements, seconds)
    who = parameters.get("Name") or parameters.get("RoleSessionName", "")
    made = "FederatedUser" if action == "GetFederationToken" else "AssumedRoleUser"
    id_ = "FederatedUserId" if action == "GetFederationToken" else "AssumedRoleId"
    ends = datetime.fromtimestamp(login.ends_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret-of-{key}</SecretAccessKey>
<SessionToken>{escape(login.secret)}</SessionToken><Expiration>{ends}</Expiration></Credentials>
<{made}><{id_}>{ACCOUNT}:{escape(who)}</{id_}><Arn>arn:aws:sts::{ACCOUNT}:federated-user/{escape(who)}</Arn></{made}>
<PackedPolicySize>6</PackedPolicySize></{action}Result>
<ResponseMetadata><RequestId>sandbox</RequestId></ResponseMetadata></{action}Response>""".encode()
