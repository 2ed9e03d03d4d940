"""Every way out of a cloud task's stub but its return ends the job at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect import flow, task

from sky_core.errors import JobCancelled
from sky_prefect import SkyTaskRunner, resources
from tests.conftest import until

pytestmark = pytest.mark.slow
FLOW = Path(__file__).parent / "flows" / "exits.py"
SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}


def all_cancelled(world, broker):
    """The store's jobs, once none of them runs any more; they were all cancelled and have left no machine."""
    until(lambda: not broker.store.jobs(live=True))
    assert world.live() == []
    jobs = broker.store.jobs()
    assert {job.state for job in jobs} == {"cancelled"}
    return jobs


def test_a_time_out_ends_the_job_and_the_retry_begins_a_new_one(world, broker):
    @task(timeout_seconds=5, retries=1)
    @resources(**SMALL)
    def slow():
        time.sleep(600)

    @flow(task_runner=SkyTaskRunner())
    def late():
        future = slow.submit()
        future.wait()
        return future.state.name

    assert late(return_state=False) == "TimedOut"
    assert len(all_cancelled(world, broker)) == 2


def test_an_error_while_telling_of_the_job_ends_it(world, broker, monkeypatch):
    def broken(event):
        if event.kind == "started":
            raise RuntimeError("the log is full")
        return event.kind

    monkeypatch.setattr("sky_prefect.remote.job.describe", broken)

    @task
    @resources(**SMALL)
    def slow():
        time.sleep(600)

    @flow(task_runner=SkyTaskRunner())
    def mute():
        slow.submit().result()

    with pytest.raises(RuntimeError, match="the log is full"):
        mute()
    (job,) = all_cancelled(world, broker)
    assert "the log is full" in job.cancel_reason


def test_a_cancelled_job_is_not_tried_again(world, broker):
    @task(retries=3)
    @resources(**SMALL)
    def slow():
        time.sleep(600)

    @flow(task_runner=SkyTaskRunner())
    def unwanted():
        future = slow.submit()
        future.demand()
        (job,) = until(broker.store.jobs)
        broker.cancel(job.id, "enough")
        future.result()

    with pytest.raises(JobCancelled, match="enough"):
        unwanted()
    assert len(all_cancelled(world, broker)) == 1


def test_a_flow_that_raises_starts_nothing_more(world, broker):
    @task(retries=3)
    @resources(**SMALL)
    def slow():
        time.sleep(600)

    @flow(task_runner=SkyTaskRunner())
    def raises():
        slow.submit().demand()
        until(broker.store.jobs)
        raise LookupError("mine")

    with pytest.raises(LookupError):
        raises()
    assert len(all_cancelled(world, broker)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_flow_and_its_job(world, broker, environment, number):
    """polars, which planning loads, lets the wait for a lock go on after Ctrl-C."""
    own = {**environment, "SKYLOOM_STORE": broker.settings.store_url}
    process = subprocess.Popen([sys.executable, str(FLOW)], env=own, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    until(lambda: any(b"tick 2\n" in broker.store.log(job.id) for job in broker.store.jobs()))
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode != 0, said
    if number == signal.SIGINT:
        assert len(all_cancelled(world, broker)) == 1


def test_a_served_flow_ends_well(world, broker, environment):
    from prefect.deployments import run_deployment

    own = {**environment, "SKYLOOM_STORE": broker.settings.store_url}
    process = subprocess.Popen([sys.executable, str(FLOW), "serve", "case"], env=own,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        def there():
            with get_client(sync_client=True) as client:
                try:
                    return client.read_deployment_by_name("served/case")
                except ObjectNotFound:
                    return None

        until(there)
        run = run_deployment("served/case", timeout=150, poll_interval=1)
        assert run.state.is_completed(), run.state
    finally:
        process.terminate()
        process.wait()
