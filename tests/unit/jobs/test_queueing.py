"""How long a job may wait in a cloud's own queue, and what becomes of it meanwhile."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sky_core import Resources, Task
from sky_core.clouds.base import Instance
from sky_core.config import Scale
from sky_core.driver.lead.queueing import in_queue, queue_s, refusal
from sky_core.driver.step import Step
from sky_core.errors import CapacityError, QuotaError
from sky_core.planner.plan import Placement
from sky_core.store import Cluster

PLACE = Placement.model_construct(
    task="work", cloud="gcp", region="europe-west4", zone="europe-west4-a", instance_type="TPU-VM", use_spot=True,
    accelerator="tpu-v3-8", accelerator_count=1.0, hours_at_most=4.0,
)  # fmt: skip


def step_of(queue: Any = "30m", deadline: Any = None, since_h: float = 0.0, **memory: Any) -> Step:
    """A job on TPUs that was submitted ``since_h`` hours ago."""
    wanted = Resources(accelerators="tpu-v3-8", queue=queue)
    known = {"promise": None, "queue_s": None, "in_queue_s": None, **memory}
    plan = SimpleNamespace(objective=SimpleNamespace(deadline=None))
    driving = SimpleNamespace(
        settings=SimpleNamespace(scale=Scale(), poll_s=2.0),
        hearing=SimpleNamespace(forget=lambda name: None),
        store=SimpleNamespace(now=time.time),
    )
    step = SimpleNamespace(
        task=Task(name="work", run="true", resources=wanted, deadline=deadline),
        job=SimpleNamespace(id="job-1", created_at=time.time() - 3600 * since_h),
        memory=SimpleNamespace(**known),
        planned=lambda: (1, None, plan),
        driving=driving,
        comes_to=lambda **told: SimpleNamespace(**told),
    )
    return cast(Step, step)


def cluster(intended_s_ago: float = 0.0) -> Cluster:
    return Cluster(
        token="sky-1", job_id="job-1", attempt=1, state="launched", cloud="gcp", region="europe-west4",
        zone="europe-west4-a", instance_type="TPU-VM", use_spot=True, num_nodes=1, price=1.0, host_key="",
        intended_at=time.time() - intended_s_ago, accelerator="tpu-v3-8",
    )  # fmt: skip


def machine(**fields: Any) -> Instance:
    known = {"id": "z/tpu-queue/n", "cloud": "gcp", "region": "r", "zone": "z", "instance_type": "TPU-VM"}
    return Instance(**{**known, "use_spot": True, "state": "pending", **fields})


def test_it_waits_as_long_as_the_task_says():
    assert queue_s(step_of(), PLACE) == pytest.approx(1800)
    assert queue_s(step_of(queue=None), PLACE) is None


@pytest.mark.parametrize(
    ("deadline", "since_h", "seconds"),
    [
        ("10h", 0.0, 1800),  # more than enough
        ("4.5h", 0.0, 0.3 * 3600),  # less four hours of work, and twelve minutes until a command runs
        ("4.5h", 0.2, 0.1 * 3600),
        ("4h", 0.0, None),  # there is no time to lose
    ],
)
def test_it_waits_no_longer_than_the_deadline_allows(deadline: str, since_h: float, seconds: float | None):
    allowed = queue_s(step_of(deadline=deadline, since_h=since_h), PLACE)
    assert allowed == (None if seconds is None else pytest.approx(seconds, abs=10))


def test_a_wait_that_is_over_is_a_want_of_capacity_in_that_zone():
    waits = machine(queued=True, reason="WAITING_FOR_RESOURCES")
    assert refusal(step_of(queue_s=600.0), cluster(590.0), [waits]) is None
    over = refusal(step_of(queue_s=600.0), cluster(601.0), [waits])
    assert isinstance(over, CapacityError)
    assert (over.scope, str(over)) == (
        "zone",
        "europe-west4-a: the queue has given no tpu-v3-8 in time (WAITING_FOR_RESOURCES)",
    )
    assert refusal(step_of(queue_s=600.0), cluster(601.0), [machine()]) is None, "it is on its way"
    quota = QuotaError("no quota")
    assert refusal(step_of(queue_s=600.0), cluster(), [waits, machine(state="stopping", failed=quota)]) is quota


def test_a_wait_is_told_once_and_is_no_silence():
    waits = [machine(queued=True), machine(state="running")]
    told = cast(Any, in_queue(step_of(queue_s=3600.0), cluster(600.0), waits))
    assert told.events[0].hours == pytest.approx(3000 / 3600, rel=0.01)
    assert told.waiting_since == pytest.approx(time.time(), abs=5)
    assert told.in_queue_s == pytest.approx(600, abs=5)
    assert told.after_s == pytest.approx(30, abs=1), "the longer it has waited, the more seldom it is looked at"
    assert cast(Any, in_queue(step_of(queue_s=3600.0, in_queue_s=1.0), cluster(), waits)).events == []
    assert cast(Any, in_queue(step_of(queue_s=3600.0), cluster(3598.0), waits)).after_s < 3, "not past its end"
    assert in_queue(step_of(queue_s=3600.0), cluster(), [machine(), machine(state="running")]) is None
