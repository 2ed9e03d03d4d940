"""What jobs have cost: machines by the hour they existed, egress by the gigabyte that moved."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sky_core.config import Scale, Settings
from sky_core.events import Moved, Restored
from sky_core.facts import facts_of
from sky_core.store import Cluster, Job, Store


@dataclass(frozen=True)
class Line:
    """One task on the bill.

    Attributes:
        compute_usd: All its attempts: hours between launch and end, times price, times machines.
        egress_usd: Its inputs and restored checkpoints at the catalog's egress prices.
        hours: Machine hours paid for.
    """

    task: str
    job_id: str
    state: str
    compute_usd: float
    egress_usd: float
    hours: float

    @property
    def usd(self) -> float:
        """Compute and egress."""
        return self.compute_usd + self.egress_usd


@dataclass(frozen=True)
class Bill:
    """The tasks of one run and what they have cost, USD."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """The sum."""
        return sum(line.usd for line in self.lines)


def make_bill(store: Store, settings: Settings, jobs: Iterable[Job]) -> Bill:
    """Add up what the store's clusters and transfers say."""
    return Bill(tuple(_line(store, settings.scale, job) for job in sorted(jobs, key=lambda job: job.created_at)))


def _line(store: Store, scale: Scale, job: Job) -> Line:
    clusters = store.clusters(job_id=job.id)
    return Line(
        task=job.task,
        job_id=job.id,
        state=job.state,
        compute_usd=sum(cluster_hours(c, scale) * c.price for c in clusters),
        egress_usd=egress_usd(store, job.id),
        hours=sum(cluster_hours(c, scale) for c in clusters),
    )


def cluster_hours(cluster: Cluster, scale: Scale, now: float | None = None, *, since: float = 0.0) -> float:
    """Machine hours of a cluster that its cloud charges until ``now`` for what was after ``since``, all machines."""
    charged = facts_of(cluster.cloud).billed_hours(cluster.instance_type, lifetime(cluster, scale, now, since=since))
    return charged * cluster.num_nodes


def egress_usd(store: Store, job_id: str, since: float = 0.0) -> float:
    """What a job's transfers have cost since then."""
    told = (event.what for event in store.events(job_id) if event.at >= since)
    return sum(what.usd for what in told if isinstance(what, Moved | Restored))


def lifetime(cluster: Cluster, scale: Scale, now: float | None = None, *, since: float = 0.0) -> float:
    """Hours that a cluster's machines existed after ``since``: by their cloud's record, else from the launch being
    accepted to its end.

    Never less than none, whatever the clocks of the cloud and of this machine say of each other.
    """
    began = cluster.started_at if cluster.started_at is not None else cluster.launched_at
    if began is None:
        return 0.0
    ended = cluster.stopped_at if cluster.stopped_at is not None else cluster.ended_at
    moment = time.time() if now is None else now
    return scale.hours(max(0.0, (moment if ended is None else ended) - max(began, since)))


def sharpened(told: float, ours: float) -> float:
    """A cloud's own time of a start or an end, better than to the second.

    EC2 tells whole seconds, cut off. Within that second it is taken for our own time of the call that brought it about;
    where that was in another one, for the second's middle.
    """
    if told % 1:
        return told
    return ours if told <= ours < told + 1 else told + 0.5
