"""What a look at the agent tells of a promise: the work that is saved outlives an attempt that never began."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sky_core.config import Scale
from sky_core.driver.lead.promise import noted
from sky_core.driver.step import Step
from sky_core.job.memory import Promise
from sky_core.planner.plan import Placement
from sky_core.remote.answers import JobState
from sky_core.store import Cluster

KIND = Placement.model_construct(task="work", cloud="aws", hours_at_most=4.0)


def look(state: JobState, queued_s: float | None = None) -> Any:
    """What changes in the memory of a job with an hour and a half in a checkpoint, as its next attempt is seen."""
    now = time.time()
    promise = Promise.model_construct(since=now - 7200, due=now + 18000, kind=KIND, at_risk=0.1, saved=1.5, begun=1.5)
    memory = SimpleNamespace(promise=promise, running_since=None, checkpoint=None, in_queue_s=queued_s)
    step = SimpleNamespace(memory=memory, driving=SimpleNamespace(settings=SimpleNamespace(scale=Scale())))
    cluster = SimpleNamespace(launched_at=now - 360)
    return noted(cast(Step, step), cast(Cluster, cluster), state).get("promise", promise)


@pytest.mark.parametrize("ran", [{"inputs": 3.0}, {}, {"inputs": 3.0, "setup": 1.0}])
def test_an_attempt_that_is_taken_back_before_its_command_began_loses_nothing(ran):
    told = look(JobState(phase="done", detail="eviction", eviction=True, seconds=ran))
    assert told.saved == 1.5
    assert told.changeover is None, "it never got that far"


@pytest.mark.parametrize(
    "state",
    [
        JobState(phase="running"),
        JobState(phase="outputs"),
        JobState(phase="done", exit_code=0),
        JobState(phase="done", detail="eviction", eviction=True, seconds={"inputs": 1.0, "running": 2.0}),
    ],
)
def test_a_command_that_began_without_the_checkpoint_begins_anew(state):
    told = look(state)
    assert told.saved == told.begun == 0.0
    assert told.changeover == pytest.approx(0.1, rel=0.1)


def test_what_it_waited_in_a_queue_is_no_part_of_a_changeover():
    assert look(JobState(phase="running"), queued_s=180.0).changeover == pytest.approx(0.05, rel=0.1)


def test_a_command_that_began_with_the_checkpoint_goes_on_from_there():
    assert look(JobState(phase="running", restored_generation=7)).saved == 1.5
