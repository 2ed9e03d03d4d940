"""Jobs with deadlines, led by a spot policy: in time, billed as simulated, moved without running twice."""

from __future__ import annotations

import os
import signal

import pytest
from typer.testing import CliRunner

from benchmarks.spot.deadline_bill import HOURS_PER_SECOND, TICKS, replay
from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.cli import app
from sky_core.driver.lead.promise import CHANGEOVER_HOURS
from tests.conftest import until
from tests.sandbox.brokers import drivers, end_drivers

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": HOURS_PER_SECOND, "aws_notice_s": 1}

BUSY = (
    0.5  # hours to a running command, 5 s here, by which a host shows that it is loaded: policies see slow clouds then
)
ZONE, TYPE = "us-east-1a", "m5.large"
COUNT = """
i=$(cat "$SKY_CHECKPOINT_DIR/i" 2>/dev/null || echo 0); echo from $i
while [ $i -lt %d ]; do
    i=$((i+1)); echo $i > "$SKY_CHECKPOINT_DIR/i.tmp"; mv "$SKY_CHECKPOINT_DIR/i.tmp" "$SKY_CHECKPOINT_DIR/i"
    echo step $i; sleep 0.2
done
"""


@pytest.fixture
def open_broker(world, monkeypatch, own_store_url):
    """Makes the test's broker, with a store of its own, the spot policy of that name and settings ``besides``."""
    opened = []

    def make(policy: str, besides: str = "") -> Broker:
        (world.home / "config.toml").write_text(f'spot_policy = "{policy}"\n{besides}\n')
        for name, value in world.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SKYLOOM_STORE", own_store_url)
        opened.append(Broker.open())
        warm(opened[0])
        return opened[0]

    yield make
    for broker in opened:
        end_drivers(broker)
    world.control.reset()


def warm(broker):
    """Have a driver up that has loaded its SDK: on a busy host that alone takes as long as a deadline here."""
    away = Resources(cloud="aws", region="eu-west-1", instance_type="t3.small")
    task = Task(name="warm", run="true", hours=0.1, resources=away)
    broker.plan("warm", Pipeline(name="warm", tasks=(task,)))
    assert broker.watch(broker.submit("warm/warm", task, "warm").id).state == "succeeded"


def counting(steps, zone=ZONE, **fields):
    where = Resources(cloud="aws", zone=zone, instance_type=TYPE, use_spot=True)
    given = {"hours": 0.02 * steps, "checkpoint": 0.05, **fields}
    return Task(name="work", run=COUNT % steps, resources=where, **given)


def submit(broker, one, key="run"):
    broker.plan(key, Pipeline(name="p", tasks=(one,)))
    return broker.submit(f"{key}/work", one, key)


def events(broker, job, kind):
    return [event for event in broker.store.events(job.id) if event.kind == kind]


def starts(broker, job):
    """Where the command has begun, attempt by attempt."""
    lines = broker.store.log(job.id).decode().splitlines()
    return [int(line.removeprefix("from ")) for line in lines if line.startswith("from ")]


def begin_on_demand(world, broker, one):
    """A job that runs on demand, as there is no spot, in the moment when spot comes back."""
    world.control.capacity(ZONE, TYPE, "spot", 0)
    job = submit(broker, one)
    until(lambda: b"step 5\n" in broker.store.log(job.id))
    assert not broker.store.clusters(job_id=job.id, open_only=True)[0].use_spot
    world.control.capacity(ZONE, TYPE, "spot", None)
    return job


@pytest.mark.timeout(600)
def test_replayed_traces_end_in_time_and_cost_what_the_simulator_says(world, open_broker):
    broker = open_broker("skyloom")
    hour = 6  # ticks
    up = {
        "us-east-1a": [False] * TICKS,
        "us-east-1b": [False] * hour + [True] * 2 * hour + [False] * TICKS,
        "us-east-1c": [True] * hour + [False] * 3 + [True] * TICKS,
    }
    results = replay(broker, world.control, {zone: values[:TICKS] for zone, values in up.items()}, 3.5, 6.0)
    for zone, result in results.items():
        assert result.job.state == "succeeded", zone
        # The bound of the safety net: twice what a machine takes longer to start than was known before.
        slow = 2 * max(0.0, max(result.changeovers) - CHANGEOVER_HOURS)
        assert result.finish <= 6.0 + slow, zone
        if max(result.changeovers) < BUSY:
            assert result.off == pytest.approx(0, abs=0.15), zone  # the benchmark asks for 5%, of a quiet machine
    assert not any(cluster.use_spot and cluster.launched_at for cluster in _clusters(broker, results["us-east-1a"]))
    if max(results["us-east-1b"].changeovers) < BUSY:  # else it is on demand before its zone is taken away
        assert any(cluster.outcome == "preempted" for cluster in _clusters(broker, results["us-east-1b"]))
    told = CliRunner(env={"COLUMNS": "200"}).invoke(app.app, ["spot", "explain", results["us-east-1c"].job.id]).output
    assert "aws/us-east-1c |" in told
    assert "work left" in told, told
    weighed = [event.data for event in broker.store.events(results["us-east-1c"].job.id) if event.kind == "weighed"]
    assert any(about["chosen"] == "spot aws/us-east-1c" for about in weighed), weighed
    assert "on-demand throughout" in told
    assert world.live() == []


def _clusters(broker, result):
    return broker.store.clusters(job_id=result.job.id)


def test_a_job_moves_to_spot_when_it_comes_back_and_goes_on_where_it_was(world, open_broker):
    broker = open_broker("uniform-progress")
    job = broker.watch(begin_on_demand(world, broker, counting(70, deadline=7)).id)
    assert job.state == "succeeded"
    first, *others = starts(broker, job)
    assert first == 0
    assert others
    assert min(others) > 5, "from the last checkpoint"
    left = events(broker, job, "left")[0]  # a slow machine may have it left twice
    ran = {event.data["attempt"]: event for event in events(broker, job, "started")}
    following = min(attempt for attempt in ran if attempt > left.data["attempt"])
    assert left.at < ran[following].at, "never on both"
    assert len(world.launches(job.id)) == len(ran)
    assert world.live() == []


def test_a_driver_killed_in_the_middle_of_a_move_is_replaced(world, open_broker):
    broker = open_broker("uniform-progress")
    job = begin_on_demand(world, broker, counting(70, deadline=7))
    until(lambda: len(broker.store.clusters(job_id=job.id, open_only=True)) == 2)
    (driver,) = drivers(broker)
    os.kill(driver.pid, signal.SIGKILL)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    tokens = world.launches(job.id)
    assert len(tokens) == len(set(tokens)), "one launch of each cluster"
    assert world.live() == []


def test_cancelling_a_moving_job_takes_both_machines_down(world, open_broker):
    broker = open_broker("uniform-progress")
    job = begin_on_demand(world, broker, counting(300, deadline=12))
    until(lambda: len(broker.store.clusters(job_id=job.id, open_only=True)) == 2)
    broker.cancel(job.id, "enough")
    assert broker.watch(job.id).state == "cancelled"
    assert world.live() == []


def test_what_cannot_or_must_not_be_on_spot_is_on_demand(world, open_broker):
    broker = open_broker("uniform-progress")
    world.control.capacity("us-east-1a", TYPE, "spot", 0)
    silent = counting(1, "us-east-1b", hours=2, deadline=4).model_copy(update={"run": "echo from 0; sleep 20"})
    jobs = {
        "refused": submit(broker, counting(70, "us-east-1a", deadline=7), "refused"),
        "silent": submit(broker, silent, "silent"),
        "hasty": submit(broker, counting(20, "us-east-1c", checkpoint=None, deadline=1), "hasty"),
    }
    jobs = {name: broker.watch(job.id) for name, job in jobs.items()}
    assert {job.state for job in jobs.values()} == {"succeeded"}
    clusters = {name: broker.store.clusters(job_id=job.id) for name, job in jobs.items()}
    # Spot is looked for again while the job runs, which stays where it is when a move is refused.
    assert [cluster.state for cluster in clusters["refused"]].count("refused") >= 2
    assert len(world.launches(jobs["refused"].id)) == 1
    assert starts(broker, jobs["refused"]) == [0]
    # A job that does not write its checkpoints leaves spot while it can still be done again.
    assert [cluster.use_spot for cluster in clusters["silent"]] == [True, False]
    assert starts(broker, jobs["silent"]) == [0, 0]
    # Without checkpoints spot has to leave time for doing it all again.
    assert [cluster.use_spot for cluster in clusters["hasty"]] == [False]


def test_a_quota_that_is_used_up_is_not_asked_for_again_and_again(world, open_broker):
    broker = open_broker("greedy")
    world.control.fault("aws", "RunInstances", "error", code="MaxSpotInstanceCountExceeded", times=1000, market="spot")
    job = broker.watch(submit(broker, counting(10, hours=1, deadline=2)).id)
    assert job.state == "succeeded"
    refused = [cluster for cluster in broker.store.clusters(job_id=job.id) if cluster.state == "refused"]
    assert 1 <= len(refused) <= 12, "once in ten minutes of the two hours"
