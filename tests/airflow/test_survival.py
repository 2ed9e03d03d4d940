"""A real Airflow whose processes are killed while a task runs: one launch in the cloud's log, and the run ends well.

And what nothing but its scheduler does: to run a DAG for the output of another one's task.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from demo.airflow_server import AirflowServer
from sky_core.store import Store
from tests.conftest import until

INTEREST_TTL_S = 6.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def metrics():
    """What receives the metrics that Airflow sends as StatsD."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        yield receiver


@pytest.fixture(scope="module")
def airflow(world, metrics, tmp_path_factory):
    folder = tmp_path_factory.mktemp("airflow-home")
    (world.home / "config.toml").write_text(f"interest_ttl_s = {INTEREST_TTL_S}\n")
    sent = {"STATSD_ON": "True", "STATSD_PORT": str(metrics.getsockname()[1]), "STATSD_INFLUXDB_ENABLED": "True",
            "METRICS_ALLOW_LIST": "skyloom"}  # fmt: skip
    environment = {**world.environ, **{f"AIRFLOW__METRICS__{name}": value for name, value in sent.items()}}
    with AirflowServer(folder, dags=Path(__file__).parent / "dags", environment=environment) as server:
        yield server


@pytest.fixture
def store(world):
    return Store(world.settings.store_url)


def ticking(store, task, tick, besides=frozenset()):
    """The task's job, none of those before it, once its log has come so far."""
    line = f"tick {tick}\n".encode()

    def found():
        jobs = [job for job in store.jobs() if job.task == task and job.id not in besides]
        return next((job for job in jobs if line in store.log(job.id)), None)

    return until(found)


def test_a_killed_triggerer_loses_nothing(world, airflow, store):
    run = airflow.trigger("ticking_deferred")
    job = ticking(store, "deferred", 5)
    airflow.stop("triggerer", kill=True)
    airflow.start("triggerer")
    assert airflow.wait("ticking_deferred", run) == "success"
    assert len(world.launches(job.id)) == 1
    assert world.live() == []


def test_a_killed_task_process_finds_its_job_again(world, airflow, store):
    run = airflow.trigger("ticking_blocking")
    job = ticking(store, "blocking", 5)
    os.kill(int((world.home / "blocking.pid").read_text()), signal.SIGKILL)
    assert airflow.wait("ticking_blocking", run) == "success"
    assert airflow.task_instances("ticking_blocking", run)["blocking"]["try_number"] == 2
    assert [found.id for found in store.jobs() if found.task == "blocking"] == [job.id]
    assert len(world.launches(job.id)) == 1


def test_metrics_tell_of_jobs(world, airflow, store, metrics):
    run = airflow.trigger("ticking_blocking")
    assert airflow.wait("ticking_blocking", run) == "success"
    told = []
    with suppress(BlockingIOError):
        while True:
            told += metrics.recv(65536).decode().splitlines()
    mine = [line for line in told if "task_id=blocking" in line]
    place = "cloud=aws,region=us-east-1,market=on-demand"
    wanted = (f"finished,.*state=succeeded,{place}:1.c", f"launches,.*{place},outcome=succeeded:1.c",
              r"usd,.*:0\.\d+.c", r"duration,.*:\d+\.\d+.ms", r"waiting,.*:\d+\.\d+.ms")  # fmt: skip
    for one in wanted:
        assert any(re.search(rf"airflow\.skyloom\.job\.{one}", line) for line in mine), (one, mine)


def test_marking_a_task_failed_takes_its_machine_down(world, airflow, store):
    before = {job.id for job in store.jobs()}
    run = airflow.trigger("ticking_deferred")
    job = ticking(store, "deferred", 5, besides=before)
    path = f"/dags/ticking_deferred/dagRuns/{run}/taskInstances/deferred"
    airflow.api("PATCH", path, json={"new_state": "failed"})
    assert until(lambda: (now := store.job(job.id)).over and now).state == "cancelled"
    assert world.live() == []


def ended(world, store, job):
    """The job once it is over; it was cancelled and has left no machine: one that still goes down costs nothing."""
    until(lambda: store.job(job.id).over)
    until(lambda: world.live() == [])
    assert store.job(job.id).state == "cancelled"
    return store.job(job.id)


def test_without_a_triggerer_a_job_goes_on_until_its_task_is_failed(world, airflow, store):
    run = airflow.trigger("ticking_long")
    job = ticking(store, "long", 5)
    airflow.stop("triggerer")
    try:
        time.sleep(3 * INTEREST_TTL_S)  # Airflow is asked meanwhile
        assert not store.job(job.id).over
        assert "unwanted" not in {event.kind for event in store.events(job.id)}, "Airflow has said that it waits"
        path = f"/dags/ticking_long/dagRuns/{run}/taskInstances/long"
        airflow.api("PATCH", path, json={"new_state": "failed"})
        assert ended(world, store, job).cancel_reason == "the Airflow task has failed"
    finally:
        airflow.start("triggerer")


def test_a_job_that_somebody_cancelled_is_not_tried_again(world, airflow, store):
    run = airflow.trigger("ticking_cancelled")
    job = ticking(store, "cancelled", 5)
    assert store.request_cancel(job.id, "enough")
    ended(world, store, job)
    assert airflow.wait("ticking_cancelled", run, limit_s=300.0) == "failed"
    # Airflow may lose the end of a try and begin another (an executor's report that comes late); no job comes of that.
    assert [found.id for found in store.jobs() if found.task == "cancelled"] == [job.id]


def test_a_job_that_somebody_cancelled_while_its_task_process_was_gone_is_not_tried_again(world, airflow, store):
    before = {job.id for job in store.jobs()}
    run = airflow.trigger("ticking_blocking")
    job = ticking(store, "blocking", 5, besides=before)
    os.kill(int((world.home / "blocking.pid").read_text()), signal.SIGKILL)
    assert store.request_cancel(job.id, "enough")
    ended(world, store, job)
    assert airflow.wait("ticking_blocking", run, limit_s=300.0) == "failed"
    assert {found.id for found in store.jobs() if found.task == "blocking"} - before == {job.id}
    assert airflow.task_instances("ticking_blocking", run)["blocking"]["try_number"] == 2


def test_clearing_a_task_whose_job_was_cancelled_runs_it_anew(world, airflow, store):
    before = {job.id for job in store.jobs()}
    run = airflow.trigger("ticking_deferred")
    job = ticking(store, "deferred", 5, besides=before)
    assert store.request_cancel(job.id, "enough")
    assert airflow.wait("ticking_deferred", run) == "failed"
    body = {"dry_run": False, "task_ids": ["deferred"], "dag_run_id": run, "reset_dag_runs": True}
    airflow.api("POST", "/dags/ticking_deferred/clearTaskInstances", json=body)
    assert airflow.wait("ticking_deferred", run) == "success"
    assert len({found.id for found in store.jobs() if found.task == "deferred"} - before) == 2


def test_a_killed_task_without_retries_ends_its_job(world, airflow, store):
    """Nobody is called then: Airflow says so when its driver asks."""
    run = airflow.trigger("ticking_last")
    job = ticking(store, "last", 5)
    os.kill(int((world.home / "last.pid").read_text()), signal.SIGKILL)
    assert airflow.wait("ticking_last", run) == "failed"
    assert ended(world, store, job).cancel_reason == "its engine does not want it any more"


def test_an_output_runs_the_dag_that_is_scheduled_by_it(world, airflow, store):
    until(lambda: "adds_numbers" in {dag["dag_id"] for dag in airflow.api("GET", "/dags")["dags"]})
    airflow.api("PATCH", "/dags/adds_numbers", json={"is_paused": False})
    assert airflow.wait("makes_numbers", airflow.trigger("makes_numbers")) == "success"
    (run,) = until(lambda: airflow.api("GET", "/dags/adds_numbers/dagRuns")["dag_runs"])
    assert airflow.wait("adds_numbers", run["dag_run_id"]) == "success"
    (job,) = [job for job in store.jobs() if job.task == "add"]
    assert b"sum 6" in store.log(job.id)


def paid(world):
    """Machines that the clouds' ledger still bills."""
    return [line for line in world.control.ledger() if line["kind"] == "machine" and line["ended"] is None]


def by_ray(name):
    """Too heavy for the suite: CONTRIBUTING.md says how to have it."""
    return pytest.param(name, marks=pytest.mark.skipif(find_spec("ray") is None, reason="not installed: ray"))


@pytest.mark.parametrize("name", ["well", "blocking", by_ray("ray")])
def test_a_task_works_with_the_cluster_of_its_setup_and_the_teardown_ends_it(world, airflow, store, name):
    run = airflow.trigger(f"clustered_{name}")
    assert airflow.wait(f"clustered_{name}", run) == "success"
    path = f"/dags/clustered_{name}/dagRuns/{run}/taskInstances/count/xcomEntries/return_value"
    assert airflow.api("GET", path)["value"] == [2646700, ["0", "1"]]
    assert paid(world) == []
    (job,) = [
        job for job in store.jobs() if job.task == "cluster" and job.plan_key.split("/")[1] == f"clustered_{name}"
    ]
    assert job.state == "succeeded"


@pytest.mark.parametrize("name", ["killed", by_ray("ray_killed")])
def test_a_killed_task_leaves_its_cluster_to_the_teardown(world, airflow, store, name):
    dag, pid = f"clustered_{name}", world.home / f"{name}.pid"
    run = airflow.trigger(dag)
    until(pid.exists)
    assert len(paid(world)) == 2
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert airflow.wait(dag, run) == "failed"
    states = {name: found["state"] for name, found in airflow.task_instances(dag, run).items()}
    assert states == {"cluster": "success", "count": "failed", "cluster_end": "success"}
    assert paid(world) == []


def test_a_cluster_without_teardown_ends_with_its_run(world, airflow, store):
    run = airflow.trigger("clustered_left")
    assert airflow.wait("clustered_left", run) == "success"
    until(lambda: not paid(world))
    (job,) = [job for job in store.jobs() if "clustered_left" in job.plan_key]
    assert job.cancel_reason == "its engine does not want it any more"
