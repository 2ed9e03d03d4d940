"""The Google Cloud provider's TPU VMs through google-cloud-tpu against the sandbox."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.gcp.provider import Gcp
from sky_core.clouds.gcp.tpu.bodies import startup_script
from sky_core.errors import AuthError, CapacityError, CloudError, InvalidRequest, QuotaError, Throttled, UnknownOutcome
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import HOST_KEY, connect, request

ZONE = "europe-west4-a"


def tpu(token: str, **changes: Any) -> LaunchRequest:
    place = {"instance_type": "TPU-VM", "accelerator": "tpu-v3-8", "region": "europe-west4", "zone": ZONE}
    return request(token, **{**place, **changes})


def test_launch_log_in_and_terminate(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(tpu(token))
    assert (machine.id, machine.instance_type, machine.use_spot) == (f"{ZONE}/tpu/{token}", "TPU-VM", True)
    [machine] = until(lambda: [i for i in gcp.describe([machine.id]) if i.state == "running"])
    assert machine.ip is not None
    assert connect(machine.ip, sandbox.settings.clouds["gcp"].ssh_port).run("echo $LOGNAME") == (0, "skyloom\n")
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [machine.id]
    gcp.terminate([machine.id])
    until(lambda: gcp.describe([machine.id])[0].state == "gone")
    gcp.terminate([machine.id])
    assert gcp.find({"skyloom-cluster": token}).instances == ()


def test_a_slice_has_a_machine_for_each_host(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    """The hosts are told once the node is ready, under the one id that its launch gave."""
    [node] = gcp.launch(tpu(token, accelerator="tpu-v3-32"))
    hosts = gcp.describe([node.id])
    assert [i.id for i in hosts] == [f"{ZONE}/tpu/{token}{suffix}" for suffix in ("", "/1", "/2", "/3")]
    assert len({i.ip for i in hosts}) == 4
    assert [i.id for i in gcp.describe([hosts[2].id])] == [hosts[2].id]
    gcp.terminate([hosts[3].id])
    until(lambda: sandbox.live() == [])


def test_same_token_same_node(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    first = gcp.launch(tpu(token, num_nodes=2))
    assert [i.id for i in gcp.launch(tpu(token, num_nodes=2))] == [i.id for i in first]
    assert len(sandbox.live()) == 2
    with pytest.raises(InvalidRequest, match="another node"):
        gcp.launch(tpu(f"{token}-0", tags={"skyloom-cluster": "other"}))
    assert len(sandbox.live()) == 2, "the node of another token is spared"


def test_a_lost_reply_does_not_create_twice(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "nodes.create", "lost", code="503", token=token)
    with pytest.raises(UnknownOutcome):
        gcp.launch(tpu(token))
    assert [i.id for i in gcp.launch(tpu(token))] == sandbox.live() == [f"{ZONE}/tpu/{token}"]


def test_gangs_are_all_or_nothing(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.capacity(ZONE, "tpu-v3-8", "spot", 1)
    with pytest.raises(CapacityError) as refused:
        gcp.launch(tpu(token, num_nodes=2))
    assert (refused.value.scope, refused.value.code) == ("zone", "RESOURCE_EXHAUSTED")
    assert sandbox.live() == []
    assert len(gcp.launch(tpu(token))) == 1, "the same token may be asked again"


def test_quota(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.quota("gcp", "europe-west4", 95)
    with pytest.raises(QuotaError) as refused:
        gcp.launch(tpu(token))
    assert refused.value.scope == "zone"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("RESOURCE_EXHAUSTED", CapacityError),
        ("QUOTA_EXCEEDED", QuotaError),
        ("forbidden", AuthError),
        ("invalid", InvalidRequest),
        ("503", UnknownOutcome),
        ("429", Throttled),
    ],
)
def test_errors_are_sorted(sandbox: Sandbox, gcp: Gcp, token: str, code: str, error: type[CloudError]) -> None:
    sandbox.control.fault("gcp", "nodes.create", "error", code=code, token=token)
    with pytest.raises(error) as raised:
        gcp.launch(tpu(token))
    assert type(raised.value) is error
    assert sandbox.live() == []


@pytest.mark.parametrize("changes", [{"zone": None}, {"accelerator": "tpu-v9-8"}, {"zone": "mars-west1-a"}])
def test_what_google_does_not_sell(sandbox: Sandbox, gcp: Gcp, token: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        gcp.launch(tpu(token, **changes))


def test_a_preempted_node_is_found_until_it_is_deleted(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(tpu(token))
    sandbox.control.preempt(machine.id, notice_s=0)
    taken = until(lambda: [i for i in gcp.describe([machine.id]) if i.preempted])
    assert (taken[0].state, taken[0].reason) == ("stopping", "PREEMPTED")
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [machine.id]
    gcp.terminate([machine.id])
    until(lambda: gcp.find({"skyloom-cluster": token}).instances == ())


def test_the_startup_script_is_sound_shell(token: str) -> None:
    script = startup_script(tpu(token, authorized_key="ssh-ed25519 AAAA it's; rm -rf /"), "skyloom")
    subprocess.run(["bash", "-n"], input=script.encode(), check=True)
    assert HOST_KEY.strip() in script
    assert """'ssh-ed25519 AAAA it'"'"'s; rm -rf /'""" in script
