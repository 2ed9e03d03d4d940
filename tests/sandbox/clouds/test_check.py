"""``skyloom check --deep``: what an account lacks, found out without making anything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sky_core.cli.account.trial import feasible, trial
from sky_core.clouds import audit, connect
from sky_core.clouds.aws.account.audit import audit as look
from sky_core.clouds.aws.provider import Aws
from sky_core.networks import Networks
from tests.conftest import Sandbox
from tests.sandbox.brokers import own_broker

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


def test_a_policy_that_closes_other_regions_is_no_fault_of_this_one(sandbox: Sandbox) -> None:
    sandbox.control.account(denied=["us-*"])
    found = list(audit("aws", sandbox.settings, "eu-west-1"))
    assert [one for one in found if not one.ok] == []


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


LAUNCH = ("check", "--launch", "--yes")


def _check(*words: str, **environ: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sky_core.cli", *words]
    done = subprocess.run(
        command, env={**os.environ, "COLUMNS": "200", **environ}, capture_output=True, text=True, timeout=900
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def broker(world, monkeypatch, own_store_url):
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker
    world.control.reset()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_least_job_runs_on_each_image_and_leaves_nothing(world: Sandbox, broker) -> None:
    code, said = _check(*LAUNCH)
    assert code == 0, said
    ledger = world.control.ledger()
    machines = [one for one in ledger if one["kind"] == "machine"]
    assert {one["cloud"] for one in machines} == {"aws", "gcp", "azure"}
    assert len(machines) == 6, "x86 and Arm, each once"
    assert all(one["ended"] is not None for one in machines)
    for cloud in ("aws", "gcp", "azure"):
        assert f"{cloud}-x86_64 | Linux x86_64" in said
        assert f"{cloud}-arm64 input proof: 17 bytes" in said
    assert "the buckets give" in said
    assert "no machine is left" in said
    assert "bill: $" in said


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_job_that_cannot_run_or_stays_is_a_fault(world: Sandbox, broker) -> None:
    world.control.account(forbidden=["ec2:RunInstances"])
    code, said = _check(*LAUNCH, SKYLOOM_CLOUDS="aws")
    assert code == 1, said
    assert "aws-x86_64: failed" in said
    assert "the buckets give" not in said


def test_what_is_not_sold_in_a_region_is_left_out(world: Sandbox, broker) -> None:
    (one,) = trial({"aws": "us-east-1"}, ["H100:3"], "word")
    left, refused = feasible(broker, one)
    assert left is not None
    assert [task.name for task in left.tasks] == ["aws-x86_64", "aws-arm64"]
    assert refused[0].task == "aws-H100-3"


def test_options_of_a_launch_need_one(world: Sandbox, broker) -> None:
    code, said = _check("check", "--accelerator", "T4")
    assert (code, "are for --launch" in said) == (1, True), said
    code, said = _check("check", "--region", "nowhere/x")
    assert code == 1
    assert "no such place" in said
