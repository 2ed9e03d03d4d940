"""Many drivers on one store: each step of each job is taken once, also when one of them is killed in the middle."""

import multiprocessing
import os
import signal
from contextlib import closing

from sky_core.store import TERMINAL, Store
from tests.conftest import until
from tests.store.driving_process import JOBS, STEPS, drive

PROCESSES = 8
LIMIT_S = 900.0  # on a busy machine most of it is eight interpreters' start
spawn = multiprocessing.get_context("spawn")


def test_each_step_is_taken_once(store_url):
    names = [f"driver-{number}" for number in range(PROCESSES)]
    processes = [spawn.Process(target=drive, args=(store_url, name), daemon=True) for name in names]
    with closing(Store(store_url)) as store:
        for process in processes:
            process.start()
        until(lambda: len(store.jobs()) == JOBS, LIMIT_S)
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
            assert [event.kind for event in events] == ["submitted"] + ["phase"] * STEPS
            assert [event.data["attempt"] for event in events[1:]] == [1, 2, 3]
