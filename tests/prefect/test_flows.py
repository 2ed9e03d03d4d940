"""Ordinary flows do as they do elsewhere: exceptions, subflows, wide maps."""

from __future__ import annotations

import os
import time
from collections import Counter

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


@pytest.mark.timeout(900)
def test_more_tasks_than_machines_share_them_each_with_its_own_end(world, broker, caplog):
    """Six tasks and a map over them, two machines at a time: values, errors, retries and logs stay each task's own."""

    @task(retries=1, retry_condition_fn=lambda task, run, state: isinstance(state.data, MyError))
    @resources(**SMALL)
    def square(x):
        print("squaring", x)
        if x == 3:
            raise MyError(x, "not this one")
        if x == 4:
            raise SystemExit(5)
        return lambda: x * x  # no value that pickle takes by itself

    @task
    @resources(**SMALL)
    def negative(given):
        return -given()

    @flow(task_runner=SkyTaskRunner(max_machines=2, debounce_s=600))
    def wide():
        squares = square.map(range(6))
        negatives = negative.map(squares)
        negatives.wait()
        errors = [squares[number].result(raise_on_failure=False) for number in (3, 4)]
        return [type(error).__name__ for error in errors], [
            (one.state.name, one.state.is_completed() and one.result()) for one in negatives
        ]

    with caplog.at_level("INFO", "prefect.task_runs"):
        names, values = wide()
    assert names == ["MyError", "TaskFailed"]
    assert values == [("NotReady", False) if x in (3, 4) else ("Completed", -x * x) for x in range(6)]
    said = [(record.getMessage(), record.task_run_id) for record in caplog.records if "squaring" in record.getMessage()]
    assert Counter(line for line, _ in said) == {f"squaring {n}": 2 if n == 3 else 1 for n in range(6)}
    assert len(set(said)) == len({run for _, run in said}) == 6, "each line is in its own task run's log"
    jobs = broker.store.jobs()
    assert sorted(job.task for job in jobs) == [
        "negative.x3",
        "negative.x3[1]",
        "square.x3",
        "square.x3[1]",
        "square.x3[1]",
    ]
    assert {job.state for job in jobs} == {"succeeded"}
    assert {len(world.launches(job.id)) for job in jobs} == {1}
