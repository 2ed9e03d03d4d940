"""Fate on command: capacity, preemption, faults, traces, and what the audit log tells of it."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest

from lab.reference import REFERENCE
from sky_core.clouds import connect as connect_cloud
from sky_core.clouds.base import Cloud
from sky_core.errors import CapacityError, SkyloomError
from sky_sandbox.traces import Track
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import request

TRACES = REFERENCE / "spot-traces"
numbers = itertools.count()


@pytest.fixture
def aws(sandbox: Sandbox) -> Cloud:
    return connect_cloud("aws", sandbox.settings)


def launch(aws: Cloud, **changes: object) -> str:
    """Id of a new machine, as the sandbox calls it."""
    [machine] = aws.launch(request(f"control-{next(numbers)}", **changes))
    return machine.id.partition("/")[2]


def test_shrinking_capacity_takes_the_youngest(sandbox: Sandbox, aws: Cloud) -> None:
    machines = [launch(aws) for _ in range(3)]
    elsewhere = [launch(aws, zone="us-east-1b"), launch(aws, use_spot=False)]
    assert sandbox.control.capacity("us-east-1a", "m5.large", "spot", 1) == [], "only launches are refused"
    assert sandbox.control.capacity("us-east-1a", "m5.large", "spot", 1, evict=True) == machines[1:]
    assert sandbox.control.capacity("us-east-1a", "m5.large", "spot", 1, evict=True) == [], "they know already"
    until(lambda: sandbox.live() == sorted([machines[0], *elsewhere]))
    sandbox.control.capacity("us-east-1a", "m5.large", "spot", None)
    launch(aws)


def test_preempting_by_what_machines_are(sandbox: Sandbox, aws: Cloud) -> None:
    one, other = launch(aws, tags={"skyloom-job": "a"}), launch(aws, tags={"skyloom-job": "b"})
    dear = launch(aws, use_spot=False)
    assert sandbox.control.preempt(cloud="gcp") == []
    assert sandbox.control.preempt(tags={"skyloom-job": "a"}, notice_s=0) == [one]
    assert sandbox.control.preempt(zone="us-east-1a", notice_s=0) == [other]
    until(lambda: sandbox.live() == [dear])


def test_notice_comes_before_the_end(sandbox: Sandbox, aws: Cloud) -> None:
    machine = launch(aws)
    sandbox.control.preempt(machine, notice_s=0.5)
    until(lambda: machine not in sandbox.live())
    events = [e for e in sandbox.control.audit() if e.get("machine", {}).get("id") == machine]
    assert [event["event"] for event in events] == ["start", "notice", "end"]
    assert events[1]["seconds"] == 0.5
    assert events[2]["at"] - events[1]["at"] >= 0.5
    assert (events[2]["machine"]["cause"], events[2]["machine"]["tags"]["skyloom-cluster"]) == (
        "preempted",
        f"control-{int(events[2]['machine']['tags']['skyloom-cluster'].rpartition('-')[2])}",
    )


def test_slow_calls(sandbox: Sandbox, aws: Cloud) -> None:
    sandbox.control.fault("aws", "DescribeInstances", "slow", seconds=0.7)
    began = time.monotonic()
    aws.describe(["us-east-1/i-0123456789abcdef0"])
    assert time.monotonic() - began >= 0.7


def test_faults_match_and_run_out(sandbox: Sandbox, aws: Cloud) -> None:
    code = "InsufficientInstanceCapacity"
    sandbox.control.fault("aws", "RunInstances", "error", code=code, times=1, market="spot", zone="us-east-1a")
    launch(aws, zone="us-east-1b")
    with pytest.raises(CapacityError):
        launch(aws)
    launch(aws)
    sandbox.control.fault("aws", "*", "error", code=code, times=100)
    sandbox.control.clear_faults()
    launch(aws)


def test_status(sandbox: Sandbox, aws: Cloud) -> None:
    sandbox.control.quota("aws", "us-east-1", 100)
    sandbox.control.capacity("us-east-1a", "V100", "spot", 2)
    launch(aws)
    status = sandbox.control.status()
    assert status["live"] == {"aws": 1, "gcp": 0, "azure": 0}
    assert (status["capacity"], status["quota"]) == ([["us-east-1a", "V100", "spot", 2]], [["aws", "us-east-1", 100]])


def test_what_makes_no_sense_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(SkyloomError, match="i-nowhere"):
        sandbox.control.hang("i-nowhere")
    with pytest.raises(SkyloomError, match="No such file"):
        sandbox.control.replay([{"path": "nowhere.json", "zone": "z"}], speed=1)
    trace = write_trace(tmp_path / "trace.json", [1], gap_s=1)
    with pytest.raises(SkyloomError, match="speed"):
        sandbox.control.replay([{"path": str(trace), "zone": "z"}], speed=0)


def write_trace(path: Path, values: list[int], gap_s: float) -> Path:
    path.write_text(json.dumps({"metadata": {"gap_seconds": gap_s}, "data": values}))
    return path


def test_a_trace_takes_machines_and_gives_them_back(sandbox: Sandbox, aws: Cloud, tmp_path: Path) -> None:
    machine = launch(aws)
    trace = write_trace(tmp_path / "trace.json", [1, 0, 1, 1], gap_s=600)
    track = {"path": str(trace), "zone": "us-east-1a", "type": "m5.large"}
    assert sandbox.control.replay([track], speed=600)["seconds"] == pytest.approx(4)
    until(lambda: [m for m in sandbox.control.machines() if m["id"] == machine and m["notice_at"]])
    assert sandbox.control.status()["capacity"] == [["us-east-1a", "m5.large", "spot", 0]]
    with pytest.raises(CapacityError):
        launch(aws)
    until(lambda: sandbox.control.status()["capacity"] == [["us-east-1a", "m5.large", "spot", 1]])
    until(lambda: machine not in sandbox.live())
    until(lambda: sandbox.control.status()["capacity"] == [])
    assert sandbox.control.status()["replaying"] == []


def test_changes_of_a_trace() -> None:
    track = Track("z", "*", 10.0, (1, 1, 0, 0, 2))
    assert list(track.changes()) == [(0.0, 1), (20.0, 0), (40.0, 2)]
    assert list(track.changes(start_s=25)) == [(0.0, 0), (15.0, 2)]


@pytest.mark.parametrize("text", ["", "[]", '{"data": [1]}', '{"metadata": {"gap_seconds": 0}, "data": [1]}'])
def test_files_that_are_no_traces(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trace.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a spot trace"):
        Track.load(path, "z")


def test_a_real_trace() -> None:
    path = TRACES / "availability/aws-2023-02-15/us-east-1a_v100_1.json"
    if not path.exists():
        pytest.skip("the recorded traces (lab/reference.py) are not here")
    track = Track.load(path, "us-east-1a", "V100", count=4)
    assert (len(track.values), track.gap_s) == (10079, 195)
    assert set(track.values) == {0, 4}
