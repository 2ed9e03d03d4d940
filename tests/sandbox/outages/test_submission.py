"""What a job takes along from its submitter, through a driver that was started by another one."""

from __future__ import annotations

import pytest

from sky_core import Pipeline
from sky_core.broker import Broker
from sky_core.errors import SpecError
from tests.conftest import until
from tests.sandbox.brokers import drivers, end_drivers, own_broker
from tests.sandbox.jobs.test_broker import submit, task

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}


@pytest.fixture
def broker(world, monkeypatch, own_store_url):
    """A broker with a store of its own."""
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker


def test_each_flow_has_its_own_value_of_a_secret_and_its_own_folder(world, broker, tmp_path, monkeypatch):
    """One driver serves both; neither its environment nor its folder decides."""
    jobs = []
    for value in ("first", "second"):
        (tmp_path / value / "code").mkdir(parents=True)
        (tmp_path / value / "code/word").write_text(value)
        monkeypatch.chdir(tmp_path / value)
        monkeypatch.setenv("A_TOKEN", f"token-{value}")
        work = task("work", 'test "$A_TOKEN" = "token-$(cat word)"', secrets=("A_TOKEN",), workdir="code")
        jobs.append(submit(broker, work, value))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("A_TOKEN")
    assert [broker.watch(job.id).state for job in jobs] == ["succeeded", "succeeded"]
    assert len(drivers(broker)) <= 1


def test_a_missing_secret_costs_nothing(world, broker):
    with pytest.raises(SpecError, match=r"Task\.work: secrets: NOBODY_SET_IT"):
        submit(broker, task(secrets=("NOBODY_SET_IT",)))
    assert broker.store.jobs() == []


def test_failover_stays_where_the_submitter_allows(world, broker, monkeypatch):
    """The driver may use every cloud; a job that is allowed GCP only does not leave it."""
    busy = submit(broker, task(run="sleep 600"), "other")  # its driver runs already
    until(lambda: broker.job(busy.id).state == "running")
    monkeypatch.setenv("SKYLOOM_CLOUDS", "gcp")
    only = Broker.open()
    kinds = {"region": ["us-central1", "us-east-1"], "instance_type": ["e2-standard-2", "n2-standard-2", "t3.small"]}
    work = task(resources={"cloud": None, **kinds})
    first = only.plan("run", Pipeline(name="p", tasks=(work,))).placements["work"]
    for letter in "abcf":
        world.control.capacity(f"us-central1-{letter}", first.instance_type, "on-demand", 0)
    job = only.watch(submit(only, work).id)
    assert job.state == "succeeded"
    places = [(cluster.cloud, cluster.instance_type) for cluster in only.store.clusters(job_id=job.id)]
    assert {cloud for cloud, _ in places} == {"gcp"}
    assert places[0][1] == first.instance_type != places[-1][1]
    broker.cancel(busy.id, "enough")
    broker.watch(busy.id)


def test_a_driver_without_the_key_leaves_the_job_alone(world, broker, monkeypatch):
    from sky_core.remote.keys import TeamKey

    job = submit(broker, task(run="sleep 600"))
    until(lambda: broker.job(job.id).state == "running")
    end_drivers(broker)
    monkeypatch.setenv("SKYLOOM_KEY", TeamKey.new().text)
    stranger = Broker.open()
    other = submit(stranger, task(), "other")
    assert stranger.watch(other.id).state == "succeeded"
    until(lambda: [event for event in stranger.store.events(job.id) if event.kind == "key missing"])
    assert stranger.job(job.id).state == "running"
    end_drivers(broker)
    broker.cancel(job.id, "the one with the key is back")
    assert broker.watch(job.id).state == "cancelled"
    assert len([event for event in broker.store.events(job.id) if event.kind == "key missing"]) == 1
