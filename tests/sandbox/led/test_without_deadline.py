"""Jobs without a deadline that keep their work: led by the policy that leads those with one, with a price on time."""

from __future__ import annotations

import time

import pytest

from sky_core import Resources
from sky_core.store import Job
from tests.conftest import until
from tests.sandbox.driving import home_of
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


@pytest.fixture(autouse=True)
def as_new(world):
    yield
    world.control.reset()


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
    job = begin_on_demand(world, broker, counting(1000))  # of which a slow machine does not do all meanwhile
    until(lambda: len(starts(broker, job)) > 1)
    assert markets(broker, job)[:2] == ["on-demand", "spot"]
    broker.cancel(job.id, "enough")
    assert broker.watch(job.id).state == "cancelled"
    assert world.live() == []


def begun(home, job: Job, line: bytes):
    return lambda: line in home.store.log(job.id)


def test_one_that_outran_its_estimate_goes_on_with_its_kind_of_machine(world, tmp_path):
    wanted = Resources(cloud="aws", region="us-east-1", cpus="2+", memory="4+", use_spot=True)
    with home_of(world, tmp_path / "home", "spot_hour_usd = 0\n") as home:
        job = home.submit(counting(45, hours=0.1).model_copy(update={"resources": wanted}))
        home.drive(job, stop=begun(home, job, b"step 25\n"))
        first = home.store.clusters(job_id=job.id)[-1]
        world.control.capacity("*", first.instance_type, "spot", 0)
        assert world.control.preempt(tags={"skyloom-job": job.id}, notice_s=0)
        (job,) = home.drive(job)
        assert job.state == "succeeded"
        assert {cluster.instance_type for cluster in home.store.clusters(job_id=job.id)} == {first.instance_type}
        assert len(home.store.plan_versions(job.plan_key)) <= 3, "one for each place where it ran"


def test_what_a_budget_forbids_is_not_bought_but_waited_out(world, tmp_path):
    world.control.capacity(ZONE, TYPE, "spot", 0)
    with home_of(world, tmp_path / "home", "spot_hour_usd = 5\n") as home:
        job = home.submit(counting(20, budget_usd=0.03))  # of which on-demand would take 0.05
        home.drive(job, stop=lambda: any(event.kind == "waiting" for event in home.store.events(job.id)))
        assert not home.store.job(job.id).over
        world.control.capacity(ZONE, TYPE, "spot", None)
        (job,) = home.drive(job)
        assert job.state == "succeeded"
        assert {cluster.market for cluster in home.store.clusters(job_id=job.id)} == {"spot"}


def test_work_that_no_checkpoint_holds_is_not_left(world, tmp_path):
    world.control.capacity(ZONE, TYPE, "spot", 0)
    with home_of(world, tmp_path / "home", f"spot_hour_usd = {BETWEEN_USD}\n") as home:
        task = counting(1, hours=3.0).model_copy(update={"run": "echo begin; sleep 12"})
        job = home.submit(task)
        home.drive(job, stop=begun(home, job, b"begin\n"))
        time.sleep(2.0)
        world.control.capacity(ZONE, TYPE, "spot", None)
        (job,) = home.drive(job)
        assert job.state == "succeeded"
        assert home.store.log(job.id).count(b"begin\n") == 1
