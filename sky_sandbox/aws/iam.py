"""IAM as far as the driver asks it of its own role, which it knows by its whole name alone.

https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html and …/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

from collections.abc import Mapping

from sky_sandbox.accounts import Account
from sky_sandbox.aws.ec2 import ACCOUNT
from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.aws.sso import ROLE

NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
ANSWERED = ("GetRole", "SimulatePrincipalPolicy")
# Roles with a path; any other that is asked for is one without.
PATHS: Mapping[str, str] = {ROLE: "/aws-reserved/sso.amazonaws.com/", "skyloom-trainer": "/teams/ml/"}


def role_arn(name: str) -> str:
    """The whole name of a role."""
    return f"arn:aws:iam::{ACCOUNT}:role{PATHS.get(name, '/')}{name}"


def is_role(arn: str) -> bool:
    """Whether there is a role of this whole name."""
    return arn == role_arn(arn.rpartition("/")[2])


def iam_reply(action: str, parameters: Mapping[str, str], account: Account) -> bytes:
    """The reply to a call.

    Raises:
        AwsError: where IAM would refuse.
    """
    told = _role(parameters["RoleName"]) if action == "GetRole" else _simulated(parameters, account)
    body = f"<{action}Result>{told}</{action}Result>"
    return f'<{action}Response xmlns="{NAMESPACE}">{body}</{action}Response>'.encode()


def _role(name: str) -> str:
    about = {"RoleName": name, "Path": PATHS.get(name, "/"), "RoleId": "AROASKYLOOM", "Arn": role_arn(name),
             "CreateDate": "2024-01-01T00:00:00Z"}  # fmt: skip
    return f"<Role>{''.join(f'<{field}>{value}</{field}>' for field, value in about.items())}</Role>"


def _simulated(parameters: Mapping[str, str], account: Account) -> str:
    arn = parameters["PolicySourceArn"]
    if ":role/" in arn and not is_role(arn):
        raise AwsError("NoSuchEntity", f"The role with name {arn.partition(':role/')[2]} cannot be found.")
    actions = [value for name, value in parameters.items() if name.startswith("ActionNames.member.")]
    results = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>"
        f"{'implicitDeny' if account.lacks(action) else 'allowed'}</EvalDecision></member>"
        for action in actions
    )
    return f"<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>"
