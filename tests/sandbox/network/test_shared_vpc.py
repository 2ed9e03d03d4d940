"""A network that a host project shares on Google Cloud: its subnetworks are ours to use, its firewall rules are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.cloud import compute_v1 as compute

from sky_core import Resources, Task
from sky_core.clouds import audit, connect
from sky_core.clouds.gcp.tpu.bodies import node_of
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of, small
from tests.sandbox.ssh import request

SANDBOX = {"hours_per_second": 0.1}
HOST, NAME = "net-host", "prod"
NETWORK = f"projects/{HOST}/global/networks/{NAME}"
PLACE = {"cloud": "gcp", "region": "us-central1", "zone": "us-central1-a"}


@pytest.fixture(autouse=True)
def shared(world: Sandbox) -> Iterator[None]:
    world.control.account(shared_networks=[f"{HOST}/{NAME}"])
    yield
    world.control.account()


@pytest.fixture
def ruled(world: Sandbox) -> Iterator[None]:
    """The network's administrator lets SSH in to machines with the tag ``batch``."""
    cloud = connect("gcp", world.settings)
    firewalls = compute.FirewallsClient(**cloud.reach)
    port = str(world.settings.clouds["gcp"].ssh_port)
    ssh = compute.Allowed(I_p_protocol="tcp", ports=[port])
    rule = compute.Firewall(name="ssh-to-batch", network=NETWORK, direction="INGRESS", source_ranges=["127.0.0.1/32"],
                            target_tags=["batch"], allowed=[ssh])  # fmt: skip
    world.control.account(shared_networks=[f"{HOST}/{NAME}"], network_admin=True)
    firewalls.insert_unary(project=HOST, firewall_resource=rule)
    world.control.account(shared_networks=[f"{HOST}/{NAME}"])
    yield
    world.control.account(shared_networks=[f"{HOST}/{NAME}"], network_admin=True)
    firewalls.delete_unary(project=HOST, firewall=rule.name)


def test_a_job_runs_by_the_rules_of_the_host(world: Sandbox, tmp_path, ruled: None) -> None:
    network = {"vpc": f"{HOST}/{NAME}", "subnet": "batch", "manage_firewall": False, "network_tags": ["batch"]}
    with home_of(world, tmp_path, network=network) as home:
        [job] = home.drive(home.submit(small(**PLACE)))
        assert job.state == "succeeded", home.outcomes(job)
        said = {found.about: found.says for found in audit("gcp", home.settings, "us-central1")}
        assert said["network"] == f"{NAME}, custom subnetworks"


def test_where_rules_are_forbidden_the_setting_is_named(world: Sandbox, tmp_path) -> None:
    with home_of(world, tmp_path, network={"vpc": f"{HOST}/{NAME}", "subnet": "batch"}) as home:
        [job] = home.drive(home.submit(small(**PLACE)))
        assert job.state == "failed"
        assert f"no firewall rules may be made in {HOST}" in job.result["error"]
        assert "set manage_firewall = false in [clouds.gcp.network]" in job.result["error"]
        assert world.launches(job.id) == []
        said = {found.about: found for found in audit("gcp", home.settings, "us-central1")}
        assert (said["network"].ok, said["permissions"].ok) == (False, True)
        assert "set manage_firewall = false" in said["network"].says


def test_a_network_that_is_not_shared_is_refused(world: Sandbox, tmp_path) -> None:
    network = {"vpc": f"{HOST}/other", "subnet": "batch", "manage_firewall": False}
    with home_of(world, tmp_path, network=network) as home:
        [job] = home.drive(home.submit(small(**PLACE)))
        assert job.state == "failed"
        assert "compute.subnetworks.use" in job.result["error"]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"vpc": f"{HOST}/{NAME}"}, "network.subnet: net-host/prod is another project's; name a subnetwork of it"),
        ({"vpc": "HOST/prod", "subnet": "batch"}, "network.vpc: 'HOST/prod' is no network"),
    ],
)
def test_a_wrong_setting_is_told_once(world: Sandbox, tmp_path, network, said: str) -> None:
    with home_of(world, tmp_path, network=network) as home:
        task = Task(name="work", run="echo hello", hours=0.1, resources=Resources(cloud="gcp", cpus=2))
        [job] = home.drive(home.submit(task))
        assert job.state == "failed"
        assert said in job.result["error"]
        assert len(home.outcomes(job)) == 1


def test_tpus_are_in_it_too(world: Sandbox, tmp_path) -> None:
    network = {"vpc": f"{HOST}/{NAME}", "subnet": "batch", "network_tags": ["batch"]}
    with home_of(world, tmp_path, network=network) as home:
        asked = request("t", instance_type="tpu-v3-8", accelerator="tpu-v3-8", region="us-central1", zone=PLACE["zone"])
        node = node_of(asked, home.settings.clouds["gcp"], "projects/p/locations/us-central1-a/nodes/t")
    assert node.network_config.network == NETWORK
    assert node.network_config.subnetwork == f"projects/{HOST}/regions/us-central1/subnetworks/batch"
    assert "batch" in node.tags
