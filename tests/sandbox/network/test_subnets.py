"""A company's account on AWS: no default network, and subnets of its own, each in one zone."""

from __future__ import annotations

import pytest

from sky_core.clouds import audit, connect
from sky_core.clouds.aws import network
from sky_core.clouds.aws.network import Network
from sky_core.errors import InvalidRequest, NotSetUp
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of, small
from tests.sandbox.ssh import request

SANDBOX = {"account": "enterprise", "hours_per_second": 0.1}
ZONES = ("us-east-1b", "us-east-1d")


@pytest.fixture(scope="module")
def subnets(world: Sandbox) -> list[str]:
    ec2 = connect("aws", world.settings)._session.client("ec2", "us-east-1")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    blocks = [(zone, f"10.20.{number}.0/24") for number, zone in enumerate(ZONES)]
    return [
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for zone, cidr in blocks
    ]


def test_machines_are_where_there_are_subnets(world: Sandbox, tmp_path, subnets: list[str]) -> None:
    settings = {"subnets": subnets, "public_addresses": False}
    with home_of(world, tmp_path, network=settings) as home:
        world.control.capacity(ZONES[0], "*", "on-demand", 0)
        [job] = home.drive(home.submit(small()))
        world.control.capacity(ZONES[0], "*", "on-demand", None)
        assert job.state == "succeeded", job.result
        outcomes = home.outcomes(job)
        assert outcomes[-1] == ("succeeded", ZONES[1])
        assert ("capacity", ZONES[0]) in outcomes
        assert {outcome for outcome, zone in outcomes if zone not in ZONES} == {"auth"}
        asked = [e["zone"] for e in world.control.audit() if e.get("action") == "RunInstances"]
        assert set(asked) == set(ZONES), "EC2 is not asked where there is no subnet"


def test_a_zone_without_a_subnet_is_told_with_the_cure(world: Sandbox, tmp_path, subnets: list[str]) -> None:
    settings = {"subnet": subnets[0], "public_addresses": False}
    with home_of(world, tmp_path, network=settings) as home:
        task = small(cloud="aws", region="us-east-1", zone="us-east-1a", instance_type="t3.small")
        [job] = home.drive(home.submit(task))
        assert job.state == "failed"
        assert "the subnets of the settings are in us-east-1b" in job.result["error"]
        assert "in subnets of [clouds.aws.network]" in job.result["error"]


def test_ec2_takes_no_zone_but_the_subnets(world: Sandbox, tmp_path, subnets: list[str], monkeypatch) -> None:
    monkeypatch.setattr(Network, "subnet", lambda *_: subnets[0])
    settings = {"subnet": subnets[0], "public_addresses": False}
    with home_of(world, tmp_path, network=settings) as home:
        cloud = connect("aws", home.settings)
        with pytest.raises(InvalidRequest, match="is in the availability zone us-east-1b"):
            cloud.launch(request("elsewhere"))
        [machine] = cloud.launch(request("anywhere", zone=None))
        assert machine.zone == "us-east-1b"
        cloud.terminate([machine.id])


def test_parts_of_two_networks_are_told_before_a_launch(
    world: Sandbox, tmp_path, subnets: list[str], monkeypatch
) -> None:
    ec2 = connect("aws", world.settings)._session.client("ec2", "us-east-1")
    other = ec2.create_vpc(CidrBlock="10.21.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_subnet(VpcId=other, CidrBlock="10.21.0.0/24", AvailabilityZone="us-east-1f")["Subnet"]
    group = ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=other)["GroupId"]
    for number, apart in enumerate(
        ({"subnets": [*subnets, elsewhere["SubnetId"]]}, {"subnets": subnets, "security_group": group})
    ):
        with home_of(world, tmp_path / str(number), network=apart) as home:
            found = {one.about: one for one in audit("aws", home.settings, "us-east-1")}
            assert "parts of several networks" in found["network"].says
            assert "of one VPC" in found["network"].says
            with pytest.raises(NotSetUp, match=f"in {other}"):
                connect("aws", home.settings).launch(request(f"apart-{number}"))
    monkeypatch.setattr(network, "_refuse_apart", lambda *_: None)
    with (
        home_of(world, tmp_path / "asked", network={"subnets": subnets, "security_group": group}) as home,
        pytest.raises(InvalidRequest, match="belong to different networks"),
    ):
        connect("aws", home.settings).launch(request("asked", zone=ZONES[0]))


def test_a_managed_cluster_is_in_the_subnet_of_its_zone(world: Sandbox, tmp_path, subnets: list[str]) -> None:
    with home_of(world, tmp_path, network={"subnets": subnets}) as home:
        emr = connect("aws", home.settings)._emr
        for zone, subnet in zip(ZONES, subnets, strict=True):
            assert emr._placed(request("words", zone=zone))["Ec2SubnetId"] == subnet
        with pytest.raises(NotSetUp, match="the subnets of the settings are in"):
            emr._placed(request("words", zone="us-east-1a"))
