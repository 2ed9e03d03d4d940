"""The Google Cloud provider's queued resources through google-cloud-tpu against the sandbox."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import tpu_v2

from sky_core.clouds.base import Instance, LaunchRequest
from sky_core.clouds.gcp.account.permissions import NEEDS
from sky_core.clouds.gcp.provider import Gcp
from sky_core.errors import CapacityError, InvalidRequest, QuotaError, UnknownOutcome
from sky_core.remote.switch import switch
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import connect, request

ZONE = "europe-west4-a"


def tpu(token: str, **changes: Any) -> LaunchRequest:
    place = {"instance_type": "TPU-VM", "accelerator": "tpu-v3-8", "region": "europe-west4", "zone": ZONE}
    return request(token, **{**place, "queue_s": 600.0, **changes})


def full(sandbox: Sandbox) -> None:
    sandbox.control.capacity(ZONE, "tpu-v3-8", "spot", 0)


def room(sandbox: Sandbox) -> None:
    sandbox.control.capacity(ZONE, "tpu-v3-8", "spot", None)


def billed(sandbox: Sandbox, token: str) -> list[str]:
    """What the cloud has charged for, of the machines of that token."""
    return [line["id"] for line in sandbox.control.ledger() if line["tags"].get("skyloom-cluster") == token]


def state(gcp: Gcp, machine: Instance) -> Instance:
    return gcp.describe([machine.id])[0]


def left(gcp: Gcp) -> list[Any]:
    """What Google's client itself still shows of the queue, and of nodes."""
    client = tpu_v2.TpuClient(transport="rest", **gcp.reach)
    parent = f"projects/{gcp.project}/locations/{ZONE}"
    return [*client.list_queued_resources(parent=parent), *client.list_nodes(parent=parent)]


def test_it_waits_until_there_is_room_and_then_runs(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    full(sandbox)
    [machine] = gcp.launch(tpu(token))
    assert (machine.id, machine.state, machine.queued) == (f"{ZONE}/tpu-queue/{token}", "pending", True)
    until(lambda: state(gcp, machine).reason == "WAITING_FOR_RESOURCES")
    [found] = gcp.find({"skyloom-cluster": token}).instances
    assert (found.id, found.queued, found.use_spot) == (machine.id, True, True)
    assert billed(sandbox, token) == [], "what waits costs nothing"
    room(sandbox)
    running = until(lambda: (one := state(gcp, machine)).state == "running" and one)
    assert (running.queued, running.tags["skyloom-cluster"]) == (False, token)
    assert connect(running.ip, sandbox.settings.clouds["gcp"].ssh_port).run("echo $LOGNAME") == (0, "skyloom\n")
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [machine.id], "told once"
    gcp.terminate([machine.id])
    until(lambda: state(gcp, machine).state == "gone")
    until(lambda: left(gcp) == [])
    gcp.terminate([machine.id])


def test_a_slice_is_waited_for_as_a_whole(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [node] = gcp.launch(tpu(token, accelerator="tpu-v3-32"))
    until(lambda: [one.state for one in gcp.describe([node.id])] == ["running"] * 4)
    hosts = gcp.describe([node.id])
    assert [i.id for i in hosts] == [f"{ZONE}/tpu-queue/{token}{suffix}" for suffix in ("", "/1", "/2", "/3")]
    gcp.terminate([hosts[3].id])
    until(lambda: left(gcp) == [])


def test_same_token_same_request(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    full(sandbox)
    sandbox.control.fault("gcp", "queuedResources.create", "lost", code="503", token=f"{token}-0")
    with pytest.raises(UnknownOutcome):
        gcp.launch(tpu(token, num_nodes=2))
    first = gcp.launch(tpu(token, num_nodes=2))
    assert [i.id for i in gcp.launch(tpu(token, num_nodes=2))] == [i.id for i in first]
    assert len(left(gcp)) == 2
    with pytest.raises(InvalidRequest, match="another node"):
        gcp.launch(tpu(f"{token}-0", tags={"skyloom-cluster": "other"}))
    assert len(left(gcp)) == 2, "that of another token is spared"
    gcp.terminate([one.id for one in first])
    until(lambda: left(gcp) == [])


def test_what_has_failed_is_told_as_a_refusal_and_counts_until_it_is_deleted(
    sandbox: Sandbox, gcp: Gcp, token: str
) -> None:
    sandbox.control.fault("gcp", "queue", "error", code="RESOURCE_EXHAUSTED", token=token)
    [machine] = gcp.launch(tpu(token))
    failed = until(lambda: (one := state(gcp, machine)).failed and one)
    assert isinstance(failed.failed, CapacityError)
    assert "no more capacity" in str(failed.failed)
    assert (failed.preempted, failed.state) == (False, "stopping")
    sandbox.control.quota("gcp", "europe-west4", 96)
    with pytest.raises(QuotaError):
        gcp.launch(tpu(f"{token}-b"))
    gcp.terminate([machine.id])
    until(lambda: left(gcp) == [])
    assert gcp.launch(tpu(f"{token}-b"))


def test_quota_is_refused_in_the_words_of_the_queue_as_well(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.fault("gcp", "queue", "error", code="QUOTA_EXCEEDED", token=token)
    [machine] = gcp.launch(tpu(token))
    assert isinstance(until(lambda: state(gcp, machine).failed), QuotaError)


def test_past_its_time_the_cloud_itself_gives_none(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    """Nobody need be there any more: what comes late would be found by nobody for a while."""
    full(sandbox)
    [machine] = gcp.launch(tpu(token, queue_s=1.0))
    assert isinstance(until(lambda: state(gcp, machine).failed), CapacityError)
    room(sandbox)
    assert sandbox.live() == []


def test_a_preempted_node_is_told_as_such_and_leaves_its_place_in_the_queue(
    sandbox: Sandbox, gcp: Gcp, token: str
) -> None:
    [machine] = gcp.launch(tpu(token))
    until(lambda: state(gcp, machine).state == "running")
    sandbox.control.preempt(machine.id.replace("tpu-queue", "tpu"), notice_s=0)
    taken = until(lambda: (one := state(gcp, machine)).preempted and one)
    assert (taken.state, taken.broke) == ("stopping", False)
    gcp.terminate([machine.id])
    until(lambda: left(gcp) == [])


def test_a_node_that_is_deleted_by_itself_leaves_the_rest(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(tpu(token))
    until(lambda: state(gcp, machine).state == "running")
    gcp.terminate([machine.id.replace("tpu-queue", "tpu")])
    alone = until(lambda: (one := state(gcp, machine)).reason == "SUSPENDED" and one)
    assert (alone.state, alone.preempted) == ("stopping", False)
    assert [i.id for i in gcp.find({"skyloom-cluster": token}).instances] == [machine.id]
    gcp.terminate([machine.id])
    until(lambda: left(gcp) == [])


def test_a_switch_ends_the_queued_resource_with_its_node(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    armed = replace(switch(sandbox.settings, "gcp", 1.0), idle_s=4.0, max_s=3600.0)
    [machine] = gcp.launch(tpu(token, switch=armed))
    assert machine.armed == "machine"
    until(lambda: left(gcp) == [])
    assert sandbox.live() == []


def test_without_force_nothing_with_nodes_is_deleted(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(tpu(token))
    until(lambda: state(gcp, machine).state == "running")
    client = tpu_v2.TpuClient(transport="rest", **gcp.reach)
    with pytest.raises(BadRequest):
        client.delete_queued_resource(name=f"projects/{gcp.project}/locations/{ZONE}/queuedResources/{token}")


def test_the_permissions_that_are_listed_for_tpus_are_enough(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    sandbox.control.account(allowed=[action for need in NEEDS for action in need.actions])
    [machine] = gcp.launch(tpu(token))
    assert [one.id for one in gcp.find({"skyloom-cluster": token}).instances] == [machine.id]
    gcp.terminate([machine.id])
    until(lambda: left(gcp) == [])
