"""Threads for steps, apart by what a step may have to wait for.

A look at a machine that answers takes milliseconds; a launch, a boot or an end waits for clouds; a machine that has
fallen silent holds its thread until the time is up. Each kind has threads of its own, so that none holds up the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from sky_core.driver.stages.hearing import Hearing
from sky_core.store import Job

Lane = Literal["looks", "work", "silent"]

THREADS: dict[Lane, int] = {"looks": 24, "work": 32, "silent": 16}


def lane_of(job: Job, hearing: Hearing) -> Lane:
    """Where the job's next step belongs."""
    memory = job.memory
    if memory.get("closing") is not None or job.cancel_reason is not None:
        return "work"
    if hearing.is_silent(job.id):
        return "silent"
    return "looks" if memory.get("started") and not memory.get("leaving") else "work"


class Lanes:
    """Steps under way, or waiting for a thread of their lane; one at a time of each job."""

    def __init__(self) -> None:
        self._pools = {lane: ThreadPoolExecutor(threads, f"driver-{lane}") for lane, threads in THREADS.items()}
        self._steps: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    def busy(self) -> list[str]:
        """Ids of the jobs that have a step under way or waiting."""
        with self._lock:
            self._steps = {job_id: step for job_id, step in self._steps.items() if not step.done()}
            return list(self._steps)

    def take(self, lane: Lane, job: Job, step: Callable[[Job], None]) -> None:
        """Have a step taken as soon as the lane has a thread for it, unless the job has one already."""
        with self._lock:
            if job.id not in self._steps or self._steps[job.id].done():
                self._steps[job.id] = self._pools[lane].submit(step, job)

    def close(self) -> None:
        """Wait for the steps under way; those that wait for a thread are left to the next driver."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools.values():
            pool.shutdown()
