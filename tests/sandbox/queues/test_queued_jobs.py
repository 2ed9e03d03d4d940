"""Jobs that wait in a cloud's own queue, through the real driver process and google-cloud-tpu."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.driver.stages.launch import request_of
from sky_core.driver.stages.owed import Debts
from sky_core.driver.step import Step
from tests.conftest import until
from tests.sandbox.brokers import drivers, own_broker
from tests.sandbox.driving import driven_by_mortals, home_of

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
ZONE, TPU = "europe-west4-a", "tpu-v3-8"


@pytest.fixture
def broker(world, own_store_url, monkeypatch):
    """A broker with a store of its own: what one test learns of refusals does not bother the next."""
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker


def task(**fields):
    resources = {"accelerators": TPU, "zone": ZONE, "use_spot": True, "queue": 60.0, **fields.pop("resources", {})}
    return Task(name="work", run="echo hello", **{"hours": 1, **fields}, resources=Resources(**resources))


def submit(broker, **fields):
    one = task(**fields)
    broker.plan("run", Pipeline(name="p", tasks=(one,)))
    return broker.submit("run/work", one, "run")


def happened(broker, job, kind):
    return [event for event in broker.store.events(job.id) if event.kind == kind]


def billed_s(world, job):
    """Seconds that the cloud charges for."""
    return sum(line["billed_s"] for line in world.control.ledger() if line["tags"].get("skyloom-job") == job.id)


def left(world):
    """What is in the queue, by the sandbox's own log of what was asked for and deleted."""
    calls = [entry for entry in world.control.audit() if entry.get("action", "").startswith("queuedResources.")]
    made = [one["token"] for one in calls if (one["action"], one["outcome"]) == ("queuedResources.create", "created")]
    ended = [one["token"] for one in calls if one["action"] == "queuedResources.delete"]
    return sorted(set(made) - set(ended))


def test_it_waits_for_nothing_and_then_runs(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 0)
    job = submit(broker)
    (told,) = until(lambda: happened(broker, job, "in queue"))
    assert 55 < told.data["hours"] <= 60
    assert billed_s(world, job) == 0
    world.control.capacity(ZONE, TPU, "spot", None)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    assert len(happened(broker, job, "in queue")) == 1
    (cluster,) = broker.store.clusters(job_id=job.id)
    assert cluster.instance_ids == (f"{ZONE}/tpu-queue/{cluster.token}",)
    assert billed_s(world, job) > 0
    assert left(world) == []
    until(lambda: world.live() == [])


def test_a_wait_that_is_over_leads_to_the_next_best_place(world, broker):
    one = task(resources={"queue": 0.3, "zone": None, "cloud": "gcp"})
    first = broker.plan("run", Pipeline(name="p", tasks=(one,))).placements["work"]
    world.control.capacity(first.zone, TPU, "spot", 0)
    job = broker.watch(broker.submit("run/work", one, "run").id)
    assert job.state == "succeeded"
    tried = [(one.zone, one.use_spot, one.outcome) for one in broker.store.clusters(job_id=job.id)]
    assert tried[0] == (first.zone, True, "capacity")
    assert tried[-1][2] == "succeeded"
    assert tried[-1][:2] != (first.zone, True)
    (told,) = happened(broker, job, "launch failed")
    assert "in time (WAITING_FOR_RESOURCES)" in told.data["message"]
    (refused,) = [seen for seen in broker.store.observations(since=0) if seen.kind == "capacity"]
    assert refused.hours >= 0.3, "others know how long was waited"
    assert left(world) == []
    until(lambda: world.live() == [])


def test_it_waits_where_another_job_was_refused_at_once(world, broker):
    for market in ("spot", "on-demand"):
        world.control.capacity(ZONE, TPU, market, 0)
    one = task(resources={"queue": None})
    broker.plan("other", Pipeline(name="p", tasks=(one,)))
    assert broker.watch(broker.submit("other/work", one, "other").id).state == "failed"
    job = submit(broker)
    until(lambda: happened(broker, job, "in queue"))
    world.control.capacity(ZONE, TPU, "spot", None)
    assert broker.watch(job.id).state == "succeeded"


def test_a_job_whose_wait_was_in_vain_does_not_go_back_there(world, broker):
    """Its cloud gave up at once, long before the time that the job would have waited."""
    for _ in range(2):
        world.control.fault("gcp", "queue", "error", code="RESOURCE_EXHAUSTED", seconds=1.0)
    job = broker.watch(submit(broker).id)
    assert job.state == "failed"
    assert "capacity in" in job.result["error"]
    tried = [(one.use_spot, one.outcome) for one in broker.store.clusters(job_id=job.id)]
    assert tried == [(True, "capacity"), (False, "capacity")]
    assert [line.compute_usd for line in broker.bill("run").lines] == [0.0]


def test_a_wait_that_is_over_costs_nothing(world, broker):
    for market in ("spot", "on-demand"):
        world.control.capacity(ZONE, TPU, market, 0)
    job = broker.watch(submit(broker, resources={"queue": 0.5}).id)
    assert job.state == "failed"
    assert len(broker.store.clusters(job_id=job.id)) == 2
    assert [line.compute_usd for line in broker.bill("run").lines] == [0.0]
    assert billed_s(world, job) == 0


def test_a_gang_waits_for_the_last_of_its_slices(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 1)
    job = submit(broker, num_nodes=2)
    until(lambda: happened(broker, job, "in queue"))
    until(lambda: len(world.launches(job.id)) == 1)
    world.control.capacity(ZONE, TPU, "spot", None)
    assert broker.watch(job.id).state == "succeeded"
    (cluster,) = broker.store.clusters(job_id=job.id)
    assert len(cluster.instance_ids) == len(world.launches(job.id)) == 2
    assert left(world) == []


def test_a_gang_whose_wait_is_over_gives_back_what_has_come(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 1)
    job = submit(broker, num_nodes=2, resources={"queue": 0.5})
    until(lambda: happened(broker, job, "launch failed"))
    until(lambda: happened(broker, job, "terminated"))
    broker.cancel(job.id, reason="seen enough")
    assert broker.watch(job.id).state == "cancelled"
    assert broker.store.clusters(job_id=job.id)[0].outcome == "capacity"
    assert left(world) == []
    until(lambda: world.live() == [])


def test_machines_with_gpus_are_waited_for_as_flex_start_vms(world, broker):
    gpu = {"accelerators": "L4", "instance_type": "g2-standard-4", "zone": "us-central1-a", "use_spot": False}
    world.control.capacity("us-central1-a", "L4", "on-demand", 0)
    job = submit(broker, resources=gpu)
    until(lambda: happened(broker, job, "in queue"))
    (driver,) = drivers(broker)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert billed_s(world, job) == 0
    world.control.capacity("us-central1-a", "L4", "on-demand", None)
    assert broker.watch(job.id).state == "succeeded"
    assert len(world.launches(job.id)) == 1
    until(lambda: world.live() == [])


def test_a_killed_driver_is_replaced_and_the_same_request_goes_on(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 0)
    job = submit(broker)
    until(lambda: happened(broker, job, "in queue"))
    (driver,) = drivers(broker)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    world.control.capacity(ZONE, TPU, "spot", None)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    assert len(world.launches(job.id)) == 1
    assert len(broker.store.clusters(job_id=job.id)) == 1


def test_drivers_that_die_in_each_of_their_steps_ask_once(world, tmp_path):
    """Until it waits, before they have written anything down: the next one does the same again."""
    world.control.capacity(ZONE, TPU, "spot", 0)
    with home_of(world, tmp_path) as home:
        job = home.submit(task())
        driven_by_mortals(home, job, lambda: any(one.kind == "in queue" for one in home.store.events(job.id)))
        world.control.capacity(ZONE, TPU, "spot", None)
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "succeeded"
    assert len(world.launches(job.id)) == 1
    assert left(world) == []
    until(lambda: world.live() == [])


def test_a_driver_that_dies_before_it_hears_the_answer_asks_for_the_same(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 0)
    world.control.fault("gcp", "queuedResources.create", "lost", code="503")
    job = submit(broker)
    until(lambda: happened(broker, job, "in queue"))
    world.control.capacity(ZONE, TPU, "spot", None)
    assert broker.watch(job.id).state == "succeeded"
    assert len(world.launches(job.id)) == 1


def test_cancelled_in_the_queue_it_leaves_nothing(world, broker):
    world.control.capacity(ZONE, TPU, "spot", 0)
    job = submit(broker)
    until(lambda: happened(broker, job, "in queue"))
    broker.cancel(job.id, reason="enough")
    assert broker.watch(job.id).state == "cancelled"
    assert left(world) == []
    assert [line.compute_usd for line in broker.bill("run").lines] == [0.0]
    world.control.capacity(ZONE, TPU, "spot", None)
    assert world.launches(job.id) == []


def test_what_fails_after_it_was_accepted_is_a_want_of_capacity_and_no_preemption(world, broker):
    world.control.fault("gcp", "queue", "error", code="RESOURCE_EXHAUSTED", seconds=1.0)
    job = broker.watch(submit(broker).id)
    assert job.state == "succeeded"
    (told,) = happened(broker, job, "launch failed")
    assert told.data["why"] == "capacity"
    assert "no more capacity" in told.data["message"]
    assert happened(broker, job, "preempted") == []
    assert broker.store.clusters(job_id=job.id)[0].outcome == "capacity"
    assert left(world) == []


def test_what_fails_in_the_queue_after_its_job_is_over_is_deleted(world, tmp_path):
    """A driver that dies while its cloud is slow to take the request; the job is cancelled meanwhile."""
    with home_of(world, tmp_path, settle_s=4.0) as home:
        job = home.submit(task())
        home.drive(job, stop=lambda: home.store.clusters(job_id=job.id))
        step = Step.load(home.driving, home.store.job(job.id))
        assert step.cluster is not None
        asked = request_of(step, step.cluster, asked_before=False)
        assert asked.queue_s == 600.0
        world.control.fault("gcp", "queuedResources.create", "slow", seconds=2.0)
        world.control.fault("gcp", "queue", "error", code="RESOURCE_EXHAUSTED")
        dead = threading.Thread(target=home.driving.clouds["gcp"].launch, args=(asked,))
        dead.start()
        home.store.request_cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "cancelled"
        dead.join()
        assert left(world) == [asked.token]
        until(lambda: Debts(home.driving).settle() == 0 and home.store.owed_launches() == [])
        assert left(world) == []
