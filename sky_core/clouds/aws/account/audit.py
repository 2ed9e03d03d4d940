"""What an account on AWS lacks for Skyloom, found out without making anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from sky_core.clouds.aws.account.permissions import NEEDS
from sky_core.clouds.aws.account.roles import DENIED, role_of
from sky_core.clouds.aws.errors import sorted_errors
from sky_core.clouds.aws.provider import Aws
from sky_core.clouds.aws.session import HOME_REGION
from sky_core.clouds.base import LaunchRequest, Reach
from sky_core.clouds.findings import Finding, finding, lending, no_quota
from sky_core.clouds.needs import When, wanted
from sky_core.errors import AuthError, CloudError, InvalidRequest


def audit(cloud: Aws, region: str) -> Iterator[Finding]:
    """Who we are, the region, its network and image, a dry run of a launch, the rights, a loan, the quotas."""
    session = cloud._session
    login = finding(
        "login", lambda: str(session.client("sts", HOME_REGION).get_caller_identity()["Arn"]), sorted_errors
    )
    yield login
    if not login.ok:
        return
    regional = lambda: session.errors(region)  # noqa: E731
    yield finding(f"region {region}", lambda: _enabled(cloud, region), regional)
    yield finding("network", lambda: cloud._network.check(region), regional)
    yield finding("dry run of a launch", lambda: _dry_run(cloud, region), regional)
    yield finding("permissions", lambda: _rights(cloud, login.says), regional)
    place = Reach(f"s3://{cloud.bucket(region)}/check", write=True)  # need not be there
    yield lending(lambda: cloud.lend([place], cloud.name))
    yield no_quota(lambda: cloud._quotas.limits(region), lambda name: name.startswith(("Running On-Demand", "All ")))


def _enabled(cloud: Aws, region: str) -> str:
    try:
        regions = cloud._session.client("ec2", HOME_REGION).describe_regions()["Regions"]
    except ClientError:  # a policy may close that one; where a region answers for itself, it is enabled
        regions = cloud._session.client("ec2", region).describe_regions()["Regions"]
    if region not in [one["RegionName"] for one in regions]:
        raise InvalidRequest("not enabled", cure=f"aws account enable-region --region-name {region}")
    return f"enabled, as one of {len(regions)}"


def _dry_run(cloud: Aws, region: str) -> str:
    """Whether a launch would be taken, in the subnet of the settings if there is one; EC2 says "yes" as an error."""
    own = cloud._network.subnet(region, None)
    subnet = {} if own is None else {"SubnetId": own}
    request = LaunchRequest("sky-check", "t3.small", region, None, use_spot=False, asked_before=False)
    image = cloud._image(request)
    try:
        with sorted_errors():
            cloud._session.client("ec2", region).run_instances(
                ImageId=image["ImageId"],
                InstanceType=request.instance_type,
                MinCount=1,
                MaxCount=1,
                DryRun=True,
                **subnet,
            )
    except CloudError as error:
        if error.code != "DryRunOperation":
            raise
    return f"{request.instance_type} with {image['ImageId']} would be launched"


def _rights(cloud: Aws, arn: str) -> str:
    """Which of the permissions that the code makes use of are not granted, by IAM's own simulation."""
    role = role_of(cloud._session, arn)
    cases: list[When] = ["role" if role else "user"]
    if cloud.config.machine_identity:
        cases.append("identity")
    asked = wanted(NEEDS, *cases)
    iam: Any = cloud._session.client("iam", HOME_REGION)
    try:
        answer = iam.simulate_principal_policy(PolicySourceArn=role or arn, ActionNames=asked)
    except iam.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in DENIED:
            return "cannot be told: grant iam:SimulatePrincipalPolicy to have them looked at"
        if role is None or code != "NoSuchEntity":
            raise
        return "cannot be told: grant iam:GetRole to have them looked at"  # the role's path is not known
    missing = [one["EvalActionName"] for one in answer["EvaluationResults"] if one["EvalDecision"] != "allowed"]
    if missing:
        raise AuthError(f"missing: {', '.join(missing)}", cure="docs/permissions.md has the whole policy")
    return f"all {len(asked)}"
