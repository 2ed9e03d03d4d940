"""``skyloom check --deep``: what an account lacks, found out without making anything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sky_core.clouds import audit, connect
from sky_core.clouds.aws.account.audit import audit as look
from sky_core.clouds.aws.provider import Aws
from sky_core.networks import Networks
from tests.conftest import Sandbox

REGIONS = {"aws": "eu-west-1", "gcp": "europe-west1", "azure": "westeurope"}
LACKING = {
    "aws": ("ec2:AuthorizeSecurityGroupIngress", "VPCIdNotSpecified|no default VPC"),
    "gcp": ("compute.firewalls.create", "networks/default"),
    "azure": ("Microsoft.Network/networkInterfaces/write", "az provider register"),
}


@pytest.mark.parametrize("name", REGIONS)
def test_what_is_wrong_is_named_with_its_cure_and_nothing_is_made(sandbox: Sandbox, name: str) -> None:
    before = len(sandbox.control.ledger())
    good = list(audit(name, sandbox.settings, REGIONS[name]))
    assert all(one.ok for one in good), [one for one in good if not one.ok]
    permission, cure = LACKING[name]
    sandbox.control.account(
        forbidden=[permission], default_network=False, registered=False, accelerators=False, opted_in=False
    )
    bad = {one.about: one for one in audit(name, sandbox.settings, REGIONS[name])}
    assert permission in bad["permissions"].says
    assert any(not one.ok for about, one in bad.items() if about != "permissions"), bad
    assert any(word in one.says for one in bad.values() for word in cure.split("|")), bad
    assert "none at all of" in bad["quotas"].says
    assert len(sandbox.control.ledger()) == before


def test_a_region_that_is_closed_is_found(sandbox: Sandbox) -> None:
    sandbox.control.account("new")
    found = {one.about: one for one in audit("aws", sandbox.settings, "eu-south-1")}
    assert "enable-region" in found["region eu-south-1"].says
    assert not found["dry run of a launch"].ok


def test_a_subnet_of_the_settings_makes_up_for_a_default_network(sandbox: Sandbox) -> None:
    sandbox.control.account(default_network=False)
    aws = connect("aws", sandbox.settings)
    assert isinstance(aws, Aws)
    subnet = aws._session.client("ec2", "eu-west-1").describe_subnets()["Subnets"][0]["SubnetId"]
    config = sandbox.settings.clouds["aws"].model_copy(update={"network": Networks(subnet=subnet)})
    found = {one.about: one for one in look(Aws(config), "eu-west-1")}
    assert all(one.ok for one in found.values()), found


def test_the_command_says_it_line_by_line(sandbox: Sandbox) -> None:
    sandbox.control.account(forbidden=["ec2:RunInstances"])
    command = [sys.executable, "-m", "sky_core.cli", "check", "--deep", "--region", "aws/eu-west-1"]
    env = {**os.environ, **sandbox.environ, "SKYLOOM_CLOUDS": "aws", "COLUMNS": "200"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "aws: network: vpc-" in said
    assert "missing: ec2:RunInstances" in said
