"""Silent machines, and clouds that take their time, hold up only their like."""

from __future__ import annotations

import threading

import pytest

from sky_core.driver.lanes import THREADS, Lanes, lane_of
from sky_core.driver.stages.hearing import Hearing
from sky_core.store import Job
from tests.conftest import until


def job(name="job-1", *, cancel_reason=None, **memory):
    return Job(
        id=name, key=name, plan_key="p", task="t", spec="", state="running", owner=None, attempt=1, created_at=0.0,
        updated_at=0.0, wake_at=0.0, cancel_reason=cancel_reason, memory=memory,
    )  # fmt: skip


@pytest.fixture
def lanes():
    lanes = Lanes()
    yield lanes
    lanes.close()


def test_where_a_step_belongs():
    hearing = Hearing()
    assert lane_of(job(), hearing) == "work"
    assert lane_of(job(started=True), hearing) == "looks"
    assert lane_of(job(started=True, leaving=True), hearing) == "work"
    hearing.unanswered("job-1")
    assert lane_of(job(started=True), hearing) == "silent"
    assert lane_of(job("job-2", started=True), hearing) == "looks"
    assert lane_of(job(started=True, closing="unreachable"), hearing) == "work", "its end waits for its cloud"
    assert lane_of(job(started=True, cancel_reason="enough"), hearing) == "work"
    hearing.answered("job-1")
    assert lane_of(job(started=True), hearing) == "looks"


def test_a_lane_that_is_full_holds_up_no_other(lanes):
    stuck, done = threading.Event(), []
    for number in range(3 * THREADS["silent"]):
        lanes.take("silent", job(f"silent-{number}"), lambda one: stuck.wait())
    lanes.take("looks", job("well"), lambda one: done.append(one.id))
    until(lambda: done == ["well"])
    assert len(lanes.busy()) >= 3 * THREADS["silent"]
    stuck.set()
    until(lambda: lanes.busy() == [])


def test_a_job_has_one_step_at_a_time(lanes):
    stuck, taken = threading.Event(), []

    def step(one):
        taken.append(one.id)
        stuck.wait()

    for _ in range(3):
        lanes.take("looks", job(), step)
        lanes.take("work", job(), step)
    until(lambda: taken)
    stuck.set()
    until(lambda: lanes.busy() == [])
    assert taken == ["job-1"]
    lanes.take("work", job(), step)
    until(lambda: len(taken) == 2)
