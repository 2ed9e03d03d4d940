"""A real Airflow whose processes are killed while a task runs: one launch in the cloud's log, and the run ends well."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from demo.airflow_server import AirflowServer
from sky_core.store import Store
from tests.conftest import until

INTEREST_TTL_S = 6.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def airflow(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("airflow-home")
    (world.home / "config.toml").write_text(f"interest_ttl_s = {INTEREST_TTL_S}\n")
    with AirflowServer(folder, dags=Path(__file__).parent / "dags", environment=world.environ) as server:
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


def test_marking_a_task_failed_takes_its_machine_down(world, airflow, store):
    before = {job.id for job in store.jobs()}
    run = airflow.trigger("ticking_deferred")
    job = ticking(store, "deferred", 5, besides=before)
    path = f"/dags/ticking_deferred/dagRuns/{run}/taskInstances/deferred"
    airflow.api("PATCH", path, json={"new_state": "failed"})
    assert until(lambda: (now := store.job(job.id)).over and now).state == "cancelled"
    assert world.live() == []


def ended(world, store, job):
    """The job once it is over; it was cancelled and has left no machine."""
    until(lambda: store.job(job.id).over)
    assert world.live() == []
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
    assert airflow.wait("ticking_cancelled", run) == "failed"
    assert airflow.task_instances("ticking_cancelled", run)["cancelled"]["try_number"] == 1
    ended(world, store, job)


def test_a_killed_task_without_retries_ends_its_job(world, airflow, store):
    """Nobody is called then: Airflow says so when its driver asks."""
    run = airflow.trigger("ticking_last")
    job = ticking(store, "last", 5)
    os.kill(int((world.home / "last.pid").read_text()), signal.SIGKILL)
    assert airflow.wait("ticking_last", run) == "failed"
    assert ended(world, store, job).cancel_reason == "its engine does not want it any more"
