"""What each of many drivers does in a process of its own; it imports no more than the store."""

from contextlib import closing

from sky_core.events import Phase
from sky_core.store import LeaseLost, Store

JOBS = 50
STEPS = 3
LEASE_S = 2.0


def drive(url: str, name: str) -> None:
    """Submit all the jobs, as every driver does, and take steps until none is left."""
    with closing(Store(url, patience_s=None)) as store:
        for number in range(JOBS):
            store.submit(f"job-{number}", plan_key="p", task="t", spec="{}", owner=None)
        while store.jobs(live=True, limit=1):
            for job in store.lease_due(name, LEASE_S, 3):
                step = job.attempt + 1
                state = "succeeded" if step == STEPS else "running"
                told = [Phase(attempt=step, phase=name)]
                try:
                    store.save_job(job, name, state=state, attempt=step, after_s=0.0, events=told)
                except LeaseLost:
                    continue  # this process was held up for longer than its lease; somebody else has taken the step
