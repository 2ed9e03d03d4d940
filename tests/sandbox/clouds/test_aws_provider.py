"""The AWS provider through boto3 against the sandbox."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sky_core.clouds import connect as connect_cloud
from sky_core.clouds.aws.provider import Aws
from sky_core.clouds.base import Cloud
from sky_core.errors import (
    AuthError,
    CapacityError,
    InvalidRequest,
    QuotaError,
    Throttled,
    UnknownOutcome,
)
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import connect, request, running


@pytest.fixture(scope="module")
def aws(shared_sandbox: Sandbox) -> Cloud:
    return connect_cloud("aws", shared_sandbox.settings)


def launches(sandbox: Sandbox, token: str) -> list[dict[str, Any]]:
    return [e for e in sandbox.control.audit() if e.get("action") == "RunInstances" and e.get("token") == token]


def test_launch_log_in_and_terminate(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [pending] = aws.launch(request(token))
    assert (pending.state, pending.use_spot, pending.zone) == ("pending", True, "us-east-1a")
    [machine] = running(aws, [pending])
    assert machine.ip is not None
    session = connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)
    assert session.run("echo $SKY_SANDBOX; echo $LOGNAME") == (0, "1\nskyloom\n")
    [found] = aws.find({"skyloom-cluster": token}).instances
    assert (found.id, found.tags["skyloom-cluster"]) == (machine.id, token)
    aws.terminate([machine.id])
    assert aws.find({"skyloom-cluster": token}).instances == ()
    [gone] = aws.describe([machine.id])
    assert (gone.state, gone.reason, gone.preempted) == ("gone", "Client.UserInitiatedShutdown", False)


def test_same_token_same_machines(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    first = aws.launch(request(token, num_nodes=2))
    again = Aws(sandbox.settings.clouds["aws"]).launch(request(token, num_nodes=2))
    assert [i.id for i in first] == [i.id for i in again]
    assert len(sandbox.live()) == 2


def test_an_image_that_aws_has_nowhere_is_asked_for_in_one_region_only(aws: Cloud, token: str) -> None:
    there = {"region": "eu-central-1", "zone": "eu-central-1a"}
    with pytest.raises(InvalidRequest, match="AWS has no image") as public:
        aws.launch(request(token, **there, instance_type="inf1.xlarge", accelerator="Inferentia", image=None))
    with pytest.raises(InvalidRequest, match="eu-central-1 has no image") as ones_own:
        aws.launch(request(token, **there, image="/team/image"))
    assert (public.value.scope, ones_own.value.scope) == ("type", "region")


def test_same_token_for_something_else_is_refused_to_that_job_alone(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    aws.launch(request(token))
    with pytest.raises(CapacityError, match="IdempotentParameterMismatch") as refused:
        aws.launch(request(token, instance_type="m5.xlarge"))
    assert refused.value.own


def test_gangs_are_all_or_nothing(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.capacity("us-east-1a", "m5.large", "spot", 2)
    with pytest.raises(CapacityError) as refused:
        aws.launch(request(token, num_nodes=3))
    assert (refused.value.scope, refused.value.code) == ("zone", "InsufficientInstanceCapacity")
    assert sandbox.live() == []
    assert len(launches(sandbox, token)) == 1, "a refusal must not be retried"
    assert len(aws.launch(request(token, zone="us-east-1b", num_nodes=3))) == 3


def test_an_accelerator_can_be_sold_out_whatever_the_type(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.capacity("us-east-1a", "V100", "spot", 0)
    for type_ in ("p3.2xlarge", "p3.8xlarge"):
        with pytest.raises(CapacityError):
            aws.launch(request(token, instance_type=type_, accelerator="V100"))
    [machine] = aws.launch(request(token, instance_type="p3.2xlarge", accelerator="V100", use_spot=False))
    assert machine.use_spot is False


def test_without_a_zone_the_region_finds_one_with_room(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.capacity("us-east-1a", "*", "spot", 0)
    [machine] = aws.launch(request(token, zone=None))
    assert machine.zone == "us-east-1b"


@pytest.mark.parametrize("spot", [True, False])
def test_quota(sandbox: Sandbox, aws: Cloud, token: str, spot: bool) -> None:
    sandbox.control.quota("aws", "us-east-1", 3)
    aws.launch(request(token, use_spot=spot))
    with pytest.raises(QuotaError) as refused:
        aws.launch(request(f"{token}-2", use_spot=spot))
    assert refused.value.scope == "region"


def test_a_lost_reply_does_not_launch_twice(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    sandbox.control.fault("aws", "RunInstances", "lost", code="InternalError", times=2, token=token)
    [machine] = aws.launch(request(token))
    assert sandbox.live() == [machine.id.partition("/")[2]]
    assert [entry["outcome"] for entry in launches(sandbox, token)] == ["InternalError", "InternalError", "ok"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RequestLimitExceeded", Throttled),
        ("InternalError", UnknownOutcome),
        ("UnauthorizedOperation", AuthError),
        ("InvalidParameterCombination", InvalidRequest),
        ("Unsupported", CapacityError),
    ],
)
def test_errors_are_sorted(sandbox: Sandbox, aws: Cloud, token: str, code: str, error: type[Exception]) -> None:
    sandbox.control.fault("aws", "RunInstances", "error", code=code, times=10, token=token)
    with pytest.raises(error):
        aws.launch(request(token))
    assert sandbox.live() == []


def test_bad_type_and_bad_image_are_invalid(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    with pytest.raises(InvalidRequest, match=r"zz\.large"):
        aws.launch(request(token, instance_type="zz.large"))
    with pytest.raises(InvalidRequest, match="ami-00000000"):
        aws.launch(request(token, image="ami-00000000"))
    with pytest.raises(InvalidRequest, match=r"Resources\.image"):
        aws.launch(request(token, image="/no/such/parameter"))


@pytest.mark.parametrize(
    ("accelerator", "type_", "arch", "image"),
    [
        (None, "m5.large", "x86_64", "ubuntu/server/24.04/stable/current/amd64"),
        (None, "m7g.large", "arm64", "ubuntu/server/24.04/stable/current/arm64"),
        ("T4", "g4dn.xlarge", "x86_64", "x86_64/base-oss-nvidia-driver-gpu"),
        ("V100", "p3.2xlarge", "x86_64", "base-proprietary-nvidia-driver"),
        ("Trainium2", "trn2.48xlarge", "x86_64", "neuron/dlami"),
        ("Gaudi", "dl1.24xlarge", "x86_64", "ubuntu/server"),
    ],
)
def test_images_fit_the_machine(
    sandbox: Sandbox, aws: Cloud, token: str, accelerator: str | None, type_: str, arch: str, image: str
) -> None:
    [machine] = aws.launch(request(token, instance_type=type_, accelerator=accelerator, arch=arch))
    assert isinstance(aws, Aws)
    ec2 = aws._session.client("ec2", "us-east-1")
    name = machine.id.partition("/")[2]
    [details] = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"]
    [booted] = ec2.describe_images(ImageIds=[details["ImageId"]])["Images"]
    assert image in booted["Name"]
    assert booted["Architecture"] == arch


def test_a_new_machine_may_be_unknown_for_a_while(sandbox: Sandbox, token: str) -> None:
    """EC2 is eventually consistent; the sandbox is not, hence a machine that it never saw."""
    aws = Aws(sandbox.settings.clouds["aws"])
    [machine] = aws.launch(request(token))
    unseen = replace(machine, id="us-east-1/i-0123456789abcdef0")
    aws._fresh[unseen.id] = (time.monotonic(), unseen)
    assert aws.describe([unseen.id]) == [replace(unseen, seen=False)]
    aws._fresh[unseen.id] = (time.monotonic() - 3600, unseen)
    assert aws.describe([unseen.id])[0].state == "gone"


def test_preemption_is_told_from_termination(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [machine] = running(aws, aws.launch(request(token)))
    sandbox.control.preempt(machine.id.partition("/")[2], notice_s=0)
    gone = until(lambda: [i for i in aws.describe([machine.id]) if i.state == "gone"])
    assert (gone[0].preempted, gone[0].reason) == (True, "Server.SpotInstanceTermination")


def test_shutting_down_inside_terminates(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [machine] = running(aws, aws.launch(request(token)))
    assert machine.ip is not None
    session = connect(machine.ip, sandbox.settings.clouds["aws"].ssh_port)
    session.client.exec_command("sudo shutdown -h now")
    gone = until(lambda: [i for i in aws.describe([machine.id]) if i.state == "gone"])
    assert (gone[0].preempted, gone[0].reason) == (False, "Client.InstanceInitiatedShutdown")
    assert gone[0].halted
    assert aws.find({"skyloom-cluster": token}).instances == ()


def test_unknown_and_ended_machines_are_fine(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [machine] = aws.launch(request(token))
    ghost = "us-west-2/i-0123456789abcdef0"
    aws.terminate([machine.id, ghost])
    aws.terminate([machine.id, ghost])
    assert [i.state for i in aws.describe([ghost, machine.id])] == ["gone", "gone"]


def test_find_looks_in_all_regions(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    for region in ("us-west-2", "eu-central-1"):
        aws.launch(request(f"{token}-{region}", region=region, zone=f"{region}a", tags={"skyloom-job": token}))
    assert {i.region for i in aws.find({"skyloom-job": token}).instances} == {"us-west-2", "eu-central-1"}
    assert {i.region for i in aws.find({"skyloom-job": token}, regions=["us-west-2"]).instances} == {"us-west-2"}


def test_wrong_credentials(sandbox: Sandbox) -> None:
    aws = sandbox.settings.clouds["aws"]
    wrong = {"access_key_id": SecretStr("AKIAWRONG"), "secret_access_key": SecretStr("x")}
    stranger = Aws(aws.model_copy(update={"credentials": wrong}))
    for call in (stranger.check, lambda: stranger.launch(request("stranger")), lambda: stranger.find({"a": "b"})):
        with pytest.raises(AuthError):
            call()
    Aws(aws).check()


def test_no_credentials_at_all(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    nobody = Aws(sandbox.settings.clouds["aws"].model_copy(update={"credentials": {}}))
    with pytest.raises(AuthError, match="aws configure"):
        nobody.check()
    with pytest.raises(AuthError, match="aws configure"):
        nobody.storage_options()


def test_storage(sandbox: Sandbox, aws: Cloud) -> None:
    import fsspec

    for region in ("us-east-1", "eu-west-1"):
        storage = aws.storage(region)
        assert storage == aws.storage(region) == Aws(sandbox.settings.clouds["aws"]).storage(region)
        files = fsspec.filesystem("s3", **aws.storage_options())
        files.pipe_file(f"{storage.url}/a/b", b"content")
        assert files.cat_file(f"{storage.url}/a/b") == b"content"


def test_instances_ask_for_what_safety_needs(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [machine] = aws.launch(request(token, ports=(8080,), disk_gib=100))
    assert isinstance(aws, Aws)
    ec2 = aws._session.client("ec2", "us-east-1")
    name = machine.id.partition("/")[2]
    [details] = ec2.describe_instances(InstanceIds=[name])["Reservations"][0]["Instances"]
    assert details["MetadataOptions"]["HttpTokens"] == "required"
    behaviour = ec2.describe_instance_attribute(InstanceId=name, Attribute="instanceInitiatedShutdownBehavior")
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    [volume] = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [name]}])["Volumes"]
    assert volume["Size"] == 100
    aws.terminate([machine.id])
    assert ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume["VolumeId"]]}])["Volumes"] == []
    [group] = ec2.describe_security_groups(GroupIds=[details["SecurityGroups"][0]["GroupId"]])["SecurityGroups"]
    ranges = {(p.get("FromPort"), r["CidrIp"]) for p in group["IpPermissions"] for r in p["IpRanges"]}
    assert ranges == {(sandbox.settings.clouds["aws"].ssh_port, "127.0.0.1/32"), (8080, "127.0.0.1/32")}


@pytest.mark.parametrize("code", ["AuthFailure", "UnrecognizedClientException", "OptInRequired"])
def test_a_region_that_is_not_opted_in_says_nothing_about_the_others(
    sandbox: Sandbox, aws: Cloud, token: str, code: str
) -> None:
    """It answers a good login in the words of a bad one."""
    sandbox.control.fault("aws", "*", "error", code=code, times=1000, region="eu-south-2")
    with pytest.raises(AuthError) as refused:
        aws.launch(request(token, region="eu-south-2", zone="eu-south-2a", asked_before=False))
    assert (refused.value.scope, refused.value.settled) == ("region", True)
    launched = aws.launch(request(f"{token}-2", region="eu-west-1", zone="eu-west-1a"))
    found = aws.find({"skyloom-cluster": f"{token}-2"}, regions=["eu-south-2", "eu-west-1"])
    assert [i.id for i in found.instances] == [i.id for i in launched]
    assert list(found.unreachable) == ["eu-south-2"]


def test_a_login_that_works_nowhere_is_told_from_a_closed_region(sandbox: Sandbox, token: str) -> None:
    aws = Aws(sandbox.settings.clouds["aws"])
    sandbox.control.fault("aws", "*", "error", code="AuthFailure", times=1000)
    with pytest.raises(AuthError) as refused:
        aws.launch(request(token, region="us-west-2", zone="us-west-2a"))
    assert refused.value.scope == "cloud"
    with pytest.raises(AuthError):
        aws.find({"skyloom-cluster": token})


def test_where_regions_may_not_be_listed_all_that_are_known_are_searched(
    sandbox: Sandbox, aws: Cloud, token: str
) -> None:
    sandbox.control.fault("aws", "DescribeRegions", "error", code="UnauthorizedOperation", times=1000)
    [machine] = aws.launch(request(token, region="us-west-2", zone="us-west-2a"))
    assert [i.id for i in aws.find({"skyloom-cluster": token}).instances] == [machine.id]


def test_a_token_that_was_used_with_other_user_data_leads_to_its_machine(
    sandbox: Sandbox, aws: Cloud, token: str
) -> None:
    """A driver on another host, or a newer image, makes the request differ; the machine is there all the same."""
    [machine] = aws.launch(request(token))
    again = Aws(sandbox.settings.clouds["aws"]).launch(request(token, disk_gib=100, tags={"skyloom-cluster": "x"}))
    assert [i.id for i in again] == [machine.id]


def test_the_end_is_told_by_ec2(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    [machine] = running(aws, aws.launch(request(token)))
    sandbox.control.preempt(machine.id.partition("/")[2], notice_s=0)
    [gone] = until(lambda: [i for i in aws.describe([machine.id]) if i.state == "gone"])
    assert gone.launched_at == pytest.approx(machine.launched_at, abs=1)
    assert gone.ended_at == pytest.approx(time.time(), abs=120)


def test_a_volume_that_lost_its_machine_is_ours_to_remove(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    assert isinstance(aws, Aws)
    ec2 = aws._session.client("ec2", "us-west-2")
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "skyloom", "Value": token}]}]
    volume = ec2.create_volume(AvailabilityZone="us-west-2a", Size=8, TagSpecifications=tags)["VolumeId"]
    [disk] = [thing for thing in aws.leftovers({"skyloom": token}).things if thing.kind == "disk"]
    assert (disk.id, disk.shared) == (f"us-west-2/{volume}", False)
    for _ in range(2):
        aws.remove(disk)
    assert not [thing for thing in aws.leftovers({"skyloom": token}).things if thing.kind == "disk"]
