"""A store with jobs in different states, as drivers leave it: for commands that only look."""

from __future__ import annotations

from sky_core.events import Moved, Restored
from sky_core.store import Cluster, Job, JobState, Store

HOUR = 3600.0
RUN = "nightly/2026-11-25T22:00:00Z-a1b2c3"
BEGAN = 1_795_644_000.0  # 22:00 UTC on 25 November 2026
STATES: tuple[JobState, ...] = ("succeeded", "failed", "running", "submitted")


def fill(store: Store) -> list[Job]:
    """Four jobs of a planned run: done on two clouds over midnight, failed, running, and not launched yet."""
    store.create_plan(RUN, '{"name": "nightly"}', "{}")
    done, failed, running, waiting = (submitted(store, f"{state}-job", state) for state in STATES)
    launches = [
        launch(done, 1, hours=1.5, use_spot=True, price=0.4, outcome="preempted"),
        launch(done, 2, hours=4.0, cloud="gcp", region="us-central1", price=2.0, began=BEGAN + HOUR),
        launch(failed, 1, hours=0.5, num_nodes=4),
        launch(failed, 2, hours=None, state="refused", outcome="capacity"),
        launch(running, 1, hours=None, state="launched", cloud="azure", region="westeurope"),
    ]
    for one in launches:
        store.put_cluster(one)
    store.tell_once(
        done.id, Moved(input="images", bytes=10**9, gb=1.0, usd=0.09, from_="azure/westeurope", to="aws/us-east-1")
    )
    store.tell_once(done.id, Restored(attempt=2, generation=3, bytes=10**9, usd=0.08))
    return [done, failed, running, waiting]


def submitted(store: Store, task: str, state: JobState = "submitted", run: str = RUN) -> Job:
    """A job in that state."""
    store.submit(f"{run}/{task}", plan_key=run, task=task, spec="{}", owner=None)
    job = next(job for job in store.lease_due("driver", 1000, 60) if job.task == task)
    saved = store.save_job(job, "driver", state=state, after_s=1e9)
    store.release_lease(job.id, "driver")
    return saved


def launch(job: Job, attempt: int, *, hours: float | None, began: float = BEGAN, **fields: object) -> Cluster:
    """A launch of the job that ended after so many hours; None if it did not."""
    launched = began if fields.get("state") != "refused" else None
    plain = {
        "token": f"{job.id}-{attempt}", "job_id": job.id, "attempt": attempt, "state": "ended", "cloud": "aws",
        "region": "us-east-1", "zone": "us-east-1a", "instance_type": "m5.large", "use_spot": False, "num_nodes": 1,
        "price": 0.1, "host_key": "", "intended_at": began, "launched_at": launched,
        "ended_at": None if hours is None else began + hours * HOUR,
    }  # fmt: skip
    return Cluster(**(plain | fields))  # type: ignore[arg-type]
