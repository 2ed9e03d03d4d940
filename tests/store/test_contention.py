"""Many drivers on one store: each step of each job is taken once, also when one of them is killed in the middle."""

import multiprocessing
import os
import signal
from contextlib import closing

from sky_core.store import TERMINAL, LeaseLost, Store
from tests.conftest import until

PROCESSES = 8
JOBS = 50
STEPS = 3
LEASE_S = 2.0
spawn = multiprocessing.get_context("spawn")


def _drive(url: str, name: str) -> None:
    """Submit all the jobs, as every driver does, and take steps until none is left."""
    with closing(Store(url, patience_s=None)) as store:
        for number in range(JOBS):
            store.submit(f"job-{number}", plan_key="p", task="t", spec="{}", owner=None)
        while store.jobs(live=True, limit=1):
            for job in store.lease_due(name, LEASE_S, 3):
                step = job.attempt + 1
                state = "succeeded" if step == STEPS else "running"
                told = [("step", {"number": step, "by": name})]
                try:
                    store.save_job(job, name, state=state, attempt=step, after_s=0.0, events=told)
                except LeaseLost:
                    continue  # this process was held up for longer than its lease; somebody else has taken the step


def test_each_step_is_taken_once(store_url):
    names = [f"driver-{number}" for number in range(PROCESSES)]
    processes = [spawn.Process(target=_drive, args=(store_url, name)) for name in names]
    with closing(Store(store_url)) as store:
        for process in processes:
            process.start()
        until(lambda: len(store.jobs()) == JOBS)
        assert processes[0].pid is not None
        os.kill(processes[0].pid, signal.SIGKILL)
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes[1:]] == [0] * (PROCESSES - 1)
        jobs = store.jobs()
        assert len(jobs) == JOBS
        assert {job.state for job in jobs} <= TERMINAL
        for job in jobs:
            events = store.events(job.id)
            assert [event.kind for event in events] == ["submitted"] + ["step"] * STEPS
            assert [event.data["number"] for event in events[1:]] == [1, 2, 3]
