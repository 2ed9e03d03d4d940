"""Launches of unknown outcome leave nothing behind, and what machines cost is told by their clouds."""

from __future__ import annotations

import threading
import time

import pytest

from sky_core.driver.stages.launch import request_of
from sky_core.driver.stages.owed import Debts, end_strays
from sky_core.driver.step import Step
from sky_core.driver.sweep import Sweeper, collect
from tests.conftest import until
from tests.sandbox.driving import home_of, small
from tests.sandbox.ssh import request

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
CREATE = {"aws": "RunInstances", "gcp": "instances.insert"}
WHERE = {
    "aws": {},
    "gcp": {"cloud": "gcp", "region": "us-central1", "instance_type": "e2-standard-2"},
    "azure": {"cloud": "azure", "region": "eastus", "instance_type": "Standard_D2s_v5"},
}  # fmt: skip


@pytest.fixture
def tidy(world):
    yield world
    world.control.reset()


def settled(home) -> bool:
    """Whether nothing is owed any more, after one more look."""
    return Debts(home.driving).settle() == 0 and home.store.owed_launches() == []


def charged(world, job) -> list[float]:
    """Seconds that the clouds' ledger has for each machine of the job, from its start to its end."""
    entries = [entry for entry in world.control.ledger() if entry["kind"] == "machine"]
    mine = [entry for entry in entries if entry["tags"].get("skyloom-job") == job.id]
    return [entry["ended"] - entry["started"] for entry in mine]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_a_reply_that_was_lost_and_then_refused_leaves_no_machine(tidy, tmp_path, cloud):
    refusal = {"aws": "UnauthorizedOperation", "gcp": "forbidden"}[cloud]
    with home_of(tidy, tmp_path, settle_s=0.5) as home:
        tidy.control.fault(cloud, CREATE[cloud], "lost")
        tidy.control.fault(cloud, CREATE[cloud], "error", code=refusal, times=1000)
        (job,) = home.drive(home.submit(small(**WHERE[cloud])))
        until(lambda: settled(home))
        until(lambda: not tidy.live())
        assert job.over


@pytest.mark.parametrize(
    ("cloud", "call", "code"),
    [
        ("aws", "TerminateInstances", "RequestExpired"),
        ("gcp", "instances.delete", "401"),
        ("azure", "resourceGroups.delete", "ExpiredAuthenticationToken"),
    ],
)
def test_what_has_succeeded_does_not_wait_for_a_login_to_end_its_machine(tidy, tmp_path, cloud, call, code):
    with home_of(tidy, tmp_path, settle_s=0.5) as home:
        job = home.submit(small(**WHERE[cloud]))
        tidy.control.fault(cloud, call, "error", code=code, times=100_000)
        [job] = home.drive(job)
        assert job.state == "succeeded", job.result
        [cluster] = home.store.clusters(job_id=job.id)
        assert tidy.live(), "which nobody may end yet"
        assert any(event.kind == "left owed" for event in home.store.events(job.id))
        assert not settled(home)
        time.sleep(3.0)
        tidy.control.clear_faults()
        until(lambda: settled(home))
        until(lambda: not tidy.live())
        [(began, ended)] = [(c.started_at, c.stopped_at) for c in home.store.clusters(job_id=job.id)]
        assert ended > cluster.stopped_at + 2, "it is paid for until then"
        [seconds] = charged(tidy, job)
        assert ended - began == pytest.approx(seconds, abs=3.0)


def test_what_is_cancelled_waits_for_its_machine(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(small(run="sleep 600"))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        tidy.control.fault("aws", "TerminateInstances", "error", code="RequestExpired", times=4)
        home.broker.cancel(job.id, "over")
        [job] = home.drive(job)
        assert job.state == "cancelled"
        until(lambda: not tidy.live())
        assert not any(event.kind == "left owed" for event in home.store.events(job.id))


class Killed(Exception):
    """Ends a driver in the middle of a test."""


class Last:
    """A cloud whose driver dies as soon as its machines are told to end."""

    def __init__(self, cloud):
        self._cloud = cloud

    def terminate(self, ids):
        self._cloud.terminate(ids)
        raise Killed


@pytest.mark.parametrize("driver", ["lives", "dies"])
def test_a_machine_that_appears_after_its_job_is_over_is_ended_and_billed(tidy, tmp_path, driver):
    with home_of(tidy, tmp_path, settle_s=4.0) as home:
        job = home.submit(small())
        home.drive(job, stop=lambda: home.store.clusters(job_id=job.id))
        step = Step.load(home.driving, home.store.job(job.id))
        assert step.cluster is not None
        asked = request_of(step, step.cluster, asked_before=False)
        tidy.control.fault("aws", "RunInstances", "slow", seconds=2.0)
        dead = threading.Thread(target=home.driving.clouds["aws"].launch, args=(asked,))
        dead.start()  # a driver that dies while the cloud is slow
        home.store.request_cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "cancelled"
        assert len(home.store.owed_launches()) == 1
        dead.join()
        assert len(tidy.live()) == 1, "the call took effect after the job was over"
        until(lambda: tidy.control.machines(live=True)[0]["state"] == "running")
        if driver == "dies":
            cloud = home.driving.clouds["aws"]
            with pytest.raises(Killed):
                end_strays(Last(cloud), home.store, cloud.find({"skyloom-job": job.id}).instances)
        until(lambda: settled(home))
        assert tidy.live() == []
        (seconds,) = charged(tidy, job)
        assert home.broker.bill("run").lines[0].hours == pytest.approx(0.1 * seconds, abs=0.25)


def test_what_was_settled_at_once_is_not_owed(tidy, tmp_path):
    with home_of(tidy, tmp_path, settle_s=600.0) as home:
        (job,) = home.drive(home.submit(small()))
        assert job.state == "succeeded"
        assert home.store.owed_launches() == []
        tidy.control.fault("aws", "RunInstances", "error", code="InsufficientInstanceCapacity")
        (job,) = home.drive(home.submit(small(), key="again"))
        assert [outcome for outcome, _ in home.outcomes(job)] == ["capacity", "succeeded"]
        assert home.store.owed_launches() == []


def test_a_cloud_that_does_not_answer_keeps_the_launch_owed_and_the_driver_there(tidy, tmp_path):
    with home_of(tidy, tmp_path, settle_s=0.1) as home:
        tidy.control.fault("aws", "RunInstances", "lost")
        tidy.control.fault("aws", "RunInstances", "error", code="UnauthorizedOperation", times=1000)
        tidy.control.fault("aws", "DescribeInstances", "error", code="UnauthorizedOperation", times=1000)
        (job,) = home.drive(home.submit(small()))
        assert job.state == "failed"
        sweeper = Sweeper(home.driving)
        sweeper.turn()
        assert sweeper.busy
        assert len(tidy.live()) == 1
        tidy.control.clear_faults()
        until(lambda: settled(home))
        assert tidy.live() == []


def test_the_driver_sweeps_where_it_has_launched_and_skips_what_refuses(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        home.drive(home.submit(small()), home.submit(small(region="us-west-2", cloud="aws", instance_type="t3.small"),
                                                     key="west"))  # fmt: skip
        job = home.submit(small(run="sleep 600"), key="runs")
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        stray = home.driving.clouds["aws"].launch(
            request("sky-stray-1", tags={"skyloom": home.store.id, "skyloom-cluster": "sky-stray-1"})
        )
        tidy.control.fault("aws", "DescribeInstances", "error", code="AuthFailure", times=1000, region="us-west-2")
        Sweeper(home.driving).turn()
        until(lambda: stray[0].id not in tidy.live())
        seen = collect(home.settings, home.store, terminate=True)
        assert [instance.tags["skyloom-job"] for instance in (*seen.in_use, *seen.undriven)] == [job.id]
        assert len(seen.undriven) == 1, "nobody has its lease"
        assert len(tidy.live()) == 1


def test_the_bill_is_the_clouds_though_nobody_looked_for_a_while(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(small(run="sleep 600"))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        (machine,) = tidy.control.machines(live=True)
        home.driving.clouds["aws"].terminate([f"us-east-1/{machine['id']}"])
        until(lambda: tidy.live() == [])
        gone = threading.Event()
        gone.wait(6.0)  # the driver is away
        home.store.request_cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving())
        (seconds,) = charged(tidy, job)
        assert home.broker.bill("run").lines[0].hours == pytest.approx(0.1 * seconds, abs=0.2)


def test_what_only_another_host_can_ask_about_stays_owed_and_keeps_no_driver_here(tidy, tmp_path):
    with home_of(tidy, tmp_path, settle_s=0.1) as home:
        job = home.submit(small())
        home.drive(job, stop=lambda: home.store.clusters(job_id=job.id))
        here = home.new_driving(home.settings.model_copy(update={"clouds": {}}))
        home.store.request_cancel(job.id, "enough")
        (job,) = home.drive(job, driving=here)
        assert job.state == "cancelled"
        assert Debts(here).settle() == 0
        assert [launch.job_id for launch in home.store.owed_launches()] == [job.id]
        until(lambda: settled(home))


@pytest.mark.parametrize("cloud", WHERE)
def test_a_machine_that_is_taken_back_is_on_the_bill_until_then(tidy, tmp_path, cloud):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(small(run="sleep 600", use_spot=True, **WHERE[cloud]))
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("running_since"))
        time.sleep(1)
        for machine in tidy.live():
            tidy.control.preempt(machine, notice_s=0)
        home.drive(job, stop=lambda: home.store.clusters(job_id=job.id)[0].state == "ended")
        first = home.store.clusters(job_id=job.id)[0]
        home.store.request_cancel(job.id, "enough")
        home.drive(job)
        assert first.outcome == "preempted"
        assert first.stopped_at - first.started_at == pytest.approx(charged(tidy, job)[0], abs=1)
