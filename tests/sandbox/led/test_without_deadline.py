"""Jobs without a deadline that keep their work: led by the policy that leads those with one, with a price on time."""

from __future__ import annotations

import pytest

from sky_core.store import Job
from tests.conftest import until
from tests.sandbox.led.test_deadline import (
    SANDBOX,
    TYPE,
    ZONE,
    begin_on_demand,
    counting,
    events,
    open_broker,
    starts,
    submit,
)

__all__ = ["SANDBOX", "open_broker"]

pytestmark = pytest.mark.slow
BETWEEN_USD = 0.08  # an hour is worth more than spot saves (0.06), but not so much that a start would not pay


def markets(broker, job: Job) -> list[str]:
    """Spot or on demand, launch by launch, of those that got a machine."""
    return [cluster.market for cluster in broker.store.clusters(job_id=job.id) if cluster.launched_at]


def test_it_waits_for_spot_where_its_time_is_worth_nothing(world, open_broker):
    broker = open_broker("skyloom", "spot_hour_usd = 0")
    job = submit(broker, counting(30))
    until(lambda: b"step 12\n" in broker.store.log(job.id))
    world.control.capacity(ZONE, TYPE, "spot", 0)
    assert world.control.preempt(tags={"skyloom-job": job.id}, notice_s=0)
    until(lambda: events(broker, job, "waiting"))
    world.control.capacity(ZONE, TYPE, "spot", None)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    assert set(markets(broker, job)) == {"spot"}
    assert starts(broker, job)[-1] > 0, "from the last checkpoint"
    (led,) = events(broker, job, "promised")
    assert led.data["hours"] is None
    assert "no deadline, an hour is worth $0.00" in led.what.words()
    assert not events(broker, job, "deadline in danger")
    assert world.live() == []


def test_it_pays_where_its_time_is_worth_more_and_moves_back_when_spot_is_there(world, open_broker):
    broker = open_broker("skyloom", f"spot_hour_usd = {BETWEEN_USD}")
    job = broker.watch(begin_on_demand(world, broker, counting(70)).id)
    assert job.state == "succeeded"
    assert markets(broker, job)[:2] == ["on-demand", "spot"]
    assert len(starts(broker, job)) > 1
    assert world.live() == []
