"""The Google Cloud provider's Flex-start VMs through google-cloud-compute against the sandbox."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1 as compute

from sky_core.clouds.base import LaunchRequest, Switch
from sky_core.clouds.gcp import flex
from sky_core.clouds.gcp.provider import Gcp
from sky_core.errors import CapacityError, UnknownOutcome
from tests.conftest import Sandbox, until
from tests.sandbox.models import google
from tests.sandbox.models.recorder import recording
from tests.sandbox.queues.test_tpu_queue import billed, state
from tests.sandbox.ssh import connect, request

ZONE = "us-central1-a"


def gpu(token: str, **changes: Any) -> LaunchRequest:
    place = {"instance_type": "g2-standard-4", "accelerator": "L4", "accelerator_count": 1, "region": "us-central1"}
    return request(token, **{**place, "zone": ZONE, "use_spot": False, "queue_s": 600.0, **changes})


def full(sandbox: Sandbox) -> None:
    sandbox.control.capacity(ZONE, "L4", "on-demand", 0)


def room(sandbox: Sandbox) -> None:
    sandbox.control.capacity(ZONE, "L4", "on-demand", None)


def test_it_waits_until_there_is_room_and_then_runs(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    full(sandbox)
    with recording() as heard:
        [machine] = gcp.launch(gpu(token, switch=Switch("", 600.0, 10**7)))
        assert (machine.id, machine.state, machine.queued) == (f"{ZONE}/{token}", "pending", True)
    assert [complaint for exchange in heard for complaint in google.complaints(exchange)] == []
    assert [i.queued for i in gcp.find({"skyloom-cluster": token}).instances] == [True]
    assert billed(sandbox, token) == [], "what waits costs nothing"
    body = compute.InstancesClient(**gcp.reach).get(project=gcp.project, zone=ZONE, instance=token)
    assert body.scheduling.max_run_duration.seconds == flex.LONGEST_RUN_S
    room(sandbox)
    running = until(lambda: (one := state(gcp, machine)).state == "running" and one)
    assert running.ip is not None
    assert connect(running.ip, sandbox.settings.clouds["gcp"].ssh_port).run("echo $LOGNAME") == (0, "skyloom\n")
    gcp.terminate([machine.id])
    until(lambda: sandbox.live() == [])


def test_same_token_same_request(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    full(sandbox)
    sandbox.control.fault("gcp", "instances.insert", "lost", code="backendError", token=f"{token}-0")
    with pytest.raises(UnknownOutcome):
        gcp.launch(gpu(token, num_nodes=2))
    first = gcp.launch(gpu(token, num_nodes=2))
    assert [i.id for i in gcp.launch(gpu(token, num_nodes=2))] == [i.id for i in first] == sandbox.live()
    gcp.terminate([one.id for one in first])
    until(lambda: sandbox.live() == [])
    room(sandbox)
    assert billed(sandbox, token) == []


def test_what_there_is_no_room_for_in_time_is_a_want_of_capacity(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    full(sandbox)
    sandbox.control.fault("gcp", "queue", "error", seconds=1.0, token=token)
    [machine] = gcp.launch(gpu(token))
    failed = until(lambda: (one := state(gcp, machine)).failed and one)
    assert isinstance(failed.failed, CapacityError)
    assert (failed.state, failed.preempted, failed.failed.scope) == ("gone", False, "zone")
    assert sandbox.live() == []


def test_one_that_ran_and_was_deleted_has_not_failed(sandbox: Sandbox, gcp: Gcp, token: str) -> None:
    [machine] = gcp.launch(gpu(token))
    until(lambda: state(gcp, machine).state == "running")
    gcp.terminate([machine.id])
    assert until(lambda: (one := state(gcp, machine)).state == "gone" and one).failed is None


@pytest.mark.parametrize(
    "changes",
    [
        {"queue_s": None},
        {"use_spot": True},
        {"instance_type": "n1-standard-4", "accelerator": "T4"},
        {"instance_type": "n2-standard-2", "accelerator": None},
    ],
)
def test_what_has_no_queue_is_had_at_once_or_not(
    sandbox: Sandbox, gcp: Gcp, token: str, changes: dict[str, Any]
) -> None:
    sandbox.control.capacity(ZONE, "*", "on-demand", 0)
    sandbox.control.capacity(ZONE, "*", "spot", 0)
    assert not flex.starts(gpu(token, **changes))
    with pytest.raises(CapacityError):
        gcp.launch(gpu(token, **changes))
    assert sandbox.live() == []


@pytest.mark.parametrize(("asked_s", "waits_s"), [(5.0, 90), (600.0, 600), (10**6, 7200)])
def test_it_waits_within_what_compute_engine_takes(asked_s: float, waits_s: int) -> None:
    body = flex.queued(compute.Instance(scheduling=compute.Scheduling()), asked_s)
    assert body.params.request_valid_for_duration.seconds == waits_s
    assert body.scheduling.max_run_duration.seconds == flex.LONGEST_RUN_S
