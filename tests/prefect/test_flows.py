"""Ordinary flows do as they do elsewhere: exceptions, subflows, wide maps."""

from __future__ import annotations

import os
import time

import pytest
from prefect import flow, task

from sky_core.errors import TaskFailed
from sky_prefect import SkyTaskRunner, resources

pytestmark = pytest.mark.slow
SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}


class MyError(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


def test_a_function_s_own_exception_is_raised(world, broker):
    seen = []

    def again(task, run, state):
        seen.append(type(state.data).__name__ if state.data is not None else state.name)
        return False

    @task(retries=3, retry_condition_fn=again)
    @resources(**SMALL)
    def mine():
        raise MyError(42, "bad")

    @task
    @resources(**SMALL)
    def leaves():
        raise SystemExit(3)

    @flow(task_runner=SkyTaskRunner())
    def caught():
        futures = [mine.submit(), leaves.submit()]
        with pytest.raises(MyError, match="bad") as own:
            futures[0].result()
        with pytest.raises(TaskFailed, match="code 3"):
            futures[1].result()
        return own.value.code

    assert caught() == 42
    assert len(broker.store.jobs()) == 2
    pages = (broker.settings.home / "pages").glob("prefect_*.html")
    assert any("t3.small" in page.read_text() for page in pages)


def test_flows_of_one_process_do_not_disturb_each_other(world, broker):
    """A subflow with a runner of its own, and a driver that has left meanwhile."""
    from sky_core.broker.spawn import try_lock

    @task
    @resources(**SMALL)
    def plus_one(x):
        return x + 1

    @flow(task_runner=SkyTaskRunner())
    def child(x):
        return plus_one.submit(x).result()

    @flow(task_runner=SkyTaskRunner())
    def parent():
        found = child(plus_one.submit(1).result())
        while (lock := try_lock(broker.settings)) is None:  # until the driver has gone
            time.sleep(0.5)
        os.close(lock)
        return child(found)

    assert parent() == 4


def test_a_wide_map_runs(world, broker):
    @task
    @resources(**SMALL)
    def square(x):
        return x * x

    @flow(task_runner=SkyTaskRunner())
    def wide():
        return sum(square.map(range(24)).result())

    assert wide() == sum(x * x for x in range(24))
    assert len(broker.store.jobs()) == 24
    assert {len(world.launches(job.id)) for job in broker.store.jobs()} == {1}
