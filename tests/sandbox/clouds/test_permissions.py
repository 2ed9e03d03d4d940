"""Who may do what ``docs/permissions.md`` lists, and nothing else, can drive; who lacks some of it is told what."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from sky_core.clouds import audit, connect
from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER, Cloud, Gated, LaunchRequest, Reach, Switch
from sky_core.clouds.needs import Need
from sky_core.errors import AuthError
from sky_core.remote.agent.data import stores
from sky_core.remote.agent.data.stores.objects import PART
from tests.conftest import Sandbox, until
from tests.sandbox.clouds.test_contract import SUBJECTS

REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}
SCHEMES = {"aws": "s3", "gcp": "gs", "azure": "abfs"}
BUCKETS = {"aws": "s3://b", "gcp": "gs://b", "azure": "abfs://b"}
Step = Callable[[Cloud, LaunchRequest], object]
STEPS: dict[str, Step] = {
    "launch": lambda cloud, request: cloud.launch(request),
    "find": lambda cloud, request: cloud.find({TAG_CLUSTER: request.token}),
    "storage": lambda cloud, request: cloud.storage(request.region),
    "lend": lambda cloud, request: cloud.lend([Reach(BUCKETS[cloud.name], write=True)], cloud.name),
    "sweep": lambda cloud, request: cloud.leftovers({TAG_OWNER: "contract"}),
}


def listed(name: str) -> list[str]:
    needs: tuple[Need, ...] = import_module(f"sky_core.clouds.{name}.account.permissions").NEEDS
    return [action for need in needs for action in need.actions]


@pytest.mark.parametrize("name", REGIONS)
def test_they_are_enough(sandbox: Sandbox, token: str, tmp_path: Path, name: str) -> None:
    sandbox.control.account(allowed=listed(name))
    cloud, region = connect(name, sandbox.settings), REGIONS[name]
    cloud.check()
    request = SUBJECTS[name].request(token, ports=(8080,), switch=Switch("pass", idle_s=600.0, max_s=3600.0))
    launched = cloud.launch(request)
    assert [instance.armed for instance in launched] != ["none"], "it may give machines what they end themselves by"
    ids = [instance.id for instance in launched]
    assert all(instance.seen for instance in cloud.describe(ids))
    found = cloud.find({TAG_CLUSTER: token})
    assert (len(found.instances), found.unreachable) == (1, {})
    assert isinstance(cloud, Gated)
    sandbox.control.move("198.51.100.1")
    cloud.let_in(ids)
    bucket = cloud.storage(region).url
    store, path = stores.connect(f"{bucket}/{token}/data", {SCHEMES[name]: cloud.storage_options()})
    (tmp_path / "large").write_bytes(b"x" * (PART + 1))
    store.send(tmp_path / "large", path)  # in two parts, which takes rights of its own
    assert stores.names(store, path.rpartition("/")[0]) == ["data"]
    stores.remove(store, path)
    assert cloud.lend([Reach(f"{bucket}/{token}", write=True)], name).options
    left = cloud.leftovers({TAG_OWNER: "contract"})
    assert left.unreachable == {}
    cloud.terminate(ids)
    until(lambda: not cloud.find({TAG_CLUSTER: token}).instances)
    for leftover in left.things:
        if leftover.kind == "firewall":
            cloud.remove(leftover)
    assert all(one.ok for one in audit(name, sandbox.settings, region))


@pytest.mark.parametrize(
    ("name", "step", "lacking"),
    [
        ("aws", "launch", "ssm:GetParameter"),
        ("aws", "launch", "ec2:RunInstances"),
        ("aws", "launch", "ec2:CreateTags"),
        ("aws", "find", "ec2:DescribeInstances"),
        ("aws", "storage", "s3:CreateBucket"),
        ("aws", "lend", "sts:GetFederationToken"),
        ("aws", "sweep", "ec2:DescribeVolumes"),
        ("gcp", "launch", "compute.firewalls.create"),
        ("gcp", "launch", "compute.subnetworks.useExternalIp"),
        ("gcp", "launch", "compute.instances.setMetadata"),
        ("gcp", "find", "compute.instances.list"),
        ("gcp", "storage", "storage.buckets.get"),
        ("gcp", "sweep", "compute.disks.list"),
        ("azure", "launch", "Microsoft.Resources/subscriptions/resourceGroups/write"),
        ("azure", "launch", "Microsoft.Network/virtualNetworks/subnets/join/action"),
        ("azure", "launch", "Microsoft.Compute/virtualMachines/write"),
        ("azure", "find", "Microsoft.Compute/virtualMachines/read"),
        ("azure", "sweep", "Microsoft.Resources/subscriptions/resources/read"),
    ],
)
def test_one_that_is_lacking_is_named(sandbox: Sandbox, token: str, name: str, step: str, lacking: str) -> None:
    cloud, request = connect(name, sandbox.settings), SUBJECTS[name].request(token, asked_before=False)
    if step == "find":
        cloud.launch(request)
    sandbox.control.account(allowed=[action for action in listed(name) if action != lacking])
    try:
        said = str(getattr(STEPS[step](cloud, request), "unreachable", "nothing is amiss"))
    except AuthError as error:
        said = str(error)
    assert lacking in said
    report = {one.about: one for one in audit(name, sandbox.settings, request.region)}
    assert lacking in report["permissions"].says
    assert not report["permissions"].ok
