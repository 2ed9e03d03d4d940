"""Launches without progress: counted by place and by job, forgiven by a command that ran or a newer checkpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sky_core.job.attempts import MOST_KEPT, MOST_UNKEPT, Tries, lately_refused, told
from sky_core.planner.candidates import is_blocked
from sky_core.planner.plan import Placement
from sky_core.store import Cluster, Event
from sky_core.store.records import Observation
from sky_core.tracker import Offering, Tracker


def placement(zone="z1", **fields):
    given = {
        "task": "t", "cloud": "aws", "region": "r", "zone": zone, "instance_type": "m", "accelerator": None,
        "accelerator_count": 0, "arch": "x86_64", "use_spot": False, "num_nodes": 1, "price": 1, "hours": 1,
        "hours_at_most": 1, "hours_source": "user", "boot_hours": 0, "compute_usd": 1,
    }  # fmt: skip
    return Placement(**{**given, **fields})


def after(*launches, tries=Tries(), generation=None):  # noqa: B008 - frozen
    for place, why, ran in launches:
        tries = tries.after(place, why, ran=ran, saved=0.0, generation=generation)
    return tries


def test_two_silent_launches_block_the_place_for_every_machine_in_both_markets():
    there, spot, elsewhere = placement(), placement(instance_type="other", use_spot=True), placement("z2")
    assert after((there, "unreachable", False)).blocks() == ()
    (block,) = after((there, "unreachable", False), (spot, "unreachable", False)).blocks()
    assert is_blocked(there, [block])
    assert is_blocked(spot, [block])
    assert not is_blocked(elsewhere, [block])
    assert "unreachable in z1, 2 launches" in block.reason


def test_spot_machines_taken_back_while_they_boot_leave_the_same_place_on_demand():
    spot = placement(use_spot=True)
    blocks = after((spot, "preempted", False), (spot, "preempted", False)).blocks()
    assert is_blocked(spot, blocks)
    assert not is_blocked(placement(), blocks)


def test_a_command_that_ran_clears_the_count():
    vain = (placement(), "unreachable", False)
    assert after(*[vain] * 3).enough(3)
    tries = after(vain, vain, (placement(), "preempted", True))
    assert tries.vain == 0
    assert tries.blocks() == ()
    assert after(vain, vain, tries=tries).enough(3) is None


def test_a_job_that_runs_and_keeps_nothing_ends_too_unless_it_takes_checkpoints():
    ran = (placement(), "preempted", True)
    assert after(*[ran] * (3 * MOST_UNKEPT - 1)).enough(3) is None
    assert "newest checkpoint" in (after(*[ran] * 3 * MOST_UNKEPT).enough(3) or "")
    tries = Tries()
    for generation in range(100):
        tries = tries.after(placement(), "preempted", ran=True, saved=0.5, generation=generation)
    assert tries.enough(3) is None
    assert tries.kept == MOST_KEPT, "whatever it was thought to take, it is not done yet"


def test_what_checkpoints_hold_is_a_share_of_the_work_wherever_it_was_done():
    slow, fast = placement(hours=8.0), placement(hours=4.0)
    tries = Tries().after(slow, "preempted", ran=True, saved=2.0, generation=1)
    assert tries.kept == pytest.approx(0.25)
    assert tries.after(fast, "preempted", ran=True, saved=1.0, generation=2).kept == pytest.approx(0.5)
    assert tries.after(fast, "preempted", ran=True, saved=1.0, generation=1).kept == pytest.approx(0.25), (
        "nothing newer was kept"
    )
    assert Tries.model_validate({"kept_hours": 3.0, "vain": 1}).vain == 1, "as stored by an earlier version"


def test_the_error_lists_each_attempt_once_with_its_reason_and_what_to_look_at():
    cluster = Cluster(
        token="t1", job_id="j", attempt=1, state="ended", cloud="aws", region="r", zone="z1", instance_type="m",
        use_spot=False, num_nodes=1, price=1, host_key="", intended_at=0, outcome="unreachable",
    )  # fmt: skip
    events = [
        Event(1, "j", 0, "unreachable", {"attempt": 1, "why": "connection refused", "seconds": 900}),
        Event(2, "j", 0, "terminated", {"attempt": 1, "outcome": "unreachable"}),
    ]
    text = told([cluster, replace(cluster, token="t2", attempt=2, state="refused", outcome="capacity")], events)
    assert "1. aws/z1 m: unreachable (connection refused)" in text
    assert "2. aws/z1 m: capacity" in text
    assert text.count("security group") == 1
    assert told([], []) == ""


def test_what_a_job_itself_was_lately_refused_is_blocked_for_it() -> None:
    tpu = Cluster(
        token="sky-1", job_id="job-1", attempt=1, state="refused", cloud="gcp", region="r", zone="r-a",
        instance_type="TPU-VM", use_spot=True, num_nodes=1, price=1.0, host_key="", intended_at=0.0,
        accelerator="tpu-v3-8", ended_at=100.0, outcome="capacity",
    )  # fmt: skip
    here = placement().model_copy(
        update={"cloud": "gcp", "region": "r", "zone": "r-a", "instance_type": "TPU-VM", "accelerator": "tpu-v3-8"}
    )
    blocks = lately_refused([tpu, replace(tpu, zone="r-b", outcome="cancelled")], since=99.0)
    assert [block.reason for block in blocks] == ["capacity in r-a"]
    assert is_blocked(here.model_copy(update={"use_spot": True}), blocks, waits=20.0)
    assert not is_blocked(here.model_copy(update={"use_spot": False}), blocks)
    assert lately_refused([tpu], since=101.0) == []


def test_a_place_out_of_reach_is_blocked_for_all_machines_and_no_launch_lifts_that():
    silent = Observation(100.0, "aws", "r", "z1", "m", "on-demand", "unreachable")
    launched = replace(silent, at=101.0, kind="launched")
    (scope,) = Tracker([silent, launched], now=110.0).blocked(ttl_s=60.0)
    assert scope.covers(Offering("aws", "r", "z1", "other", "spot"))
    assert not scope.covers(Offering("aws", "r", "z2", "m", "on-demand"))
    assert Tracker([silent, launched], now=161.0).blocked(ttl_s=60.0) == []
