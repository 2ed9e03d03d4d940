"""The bill in its smallest pieces: each launch and each transfer, with all that it can be sorted by."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date

from sky_core.config import Scale
from sky_core.events import Moved, Restored
from sky_core.job.bill import cluster_hours
from sky_core.store import Cluster, Event, JobName, Store

DAY_S = 24 * 3600.0
EPOCH = date(1970, 1, 1).toordinal()
NOT_KNOWN = "?"


@dataclass(frozen=True)
class Charge:
    """What one launch cost on one day, or one transfer.

    Attributes:
        pipeline: The pipeline's name; ``?`` if its plan is not in this store.
        run: The key of its plan.
        cloud: Whom it is owed to. Egress is charged by the cloud that the data left.
        market: ``spot``, ``on-demand`` or ``egress``.
        day: In UTC, as ``2026-11-26``. A launch over midnight is charged to both days, by the time it had of each.
        hours: Machine hours.
        running: Whether its machines may still exist, so that it grows.
    """

    pipeline: str
    run: str
    task: str
    job: str
    cloud: str
    region: str
    market: str
    day: str
    compute_usd: float = 0.0
    egress_usd: float = 0.0
    hours: float = 0.0
    running: bool = False


def charges(store: Store, scale: Scale, now: float | None = None) -> list[Charge]:
    """All that the jobs of a store have cost. A few queries, however many jobs there are."""
    moment = time.time() if now is None else now
    jobs = {job.id: job for job in store.job_names()}
    pipelines = store.pipeline_names()
    clusters: dict[str, list[Cluster]] = {}
    for cluster in store.clusters():
        if cluster.job_id in jobs:
            clusters.setdefault(cluster.job_id, []).append(cluster)
    found: list[Charge] = []
    for job_id, launches in clusters.items():
        blank = _blank(jobs[job_id], pipelines)
        found += (charge for launch in launches for charge in _of_launch(blank, launch, scale, moment))
    for event in store.events_of((Moved.kind, Restored.kind)):
        if event.job_id in jobs:
            found += _of_transfer(_blank(jobs[event.job_id], pipelines), event, clusters.get(event.job_id, ()))
    return found


def _blank(job: JobName, pipelines: Mapping[str, str]) -> Charge:
    pipeline = pipelines.get(job.plan_key, NOT_KNOWN)
    return Charge(pipeline, job.plan_key, job.task, job.id, cloud=NOT_KNOWN, region=NOT_KNOWN, market="", day="")


def _of_launch(blank: Charge, cluster: Cluster, scale: Scale, now: float) -> Iterator[Charge]:
    hours = cluster_hours(cluster, scale, now)
    running = cluster.state in ("intended", "launched")
    if not hours and not running:
        return  # a launch that was refused
    began = cluster.started_at or cluster.launched_at or cluster.intended_at
    ended = cluster.stopped_at or cluster.ended_at or now
    market = "spot" if cluster.use_spot else "on-demand"
    for day, share in days(began, ended):
        yield replace(
            blank,
            cloud=cluster.cloud,
            region=cluster.region,
            market=market,
            day=day,
            hours=hours * share,
            compute_usd=hours * share * cluster.price,
            running=running,
        )


def _of_transfer(blank: Charge, event: Event, clusters: Iterable[Cluster]) -> Iterator[Charge]:
    what = event.what
    if isinstance(what, Moved):
        cloud, _, region = what.from_.partition("/")
    elif isinstance(what, Restored):
        # The event does not say where the checkpoint lay: beside the machines of the attempt that wrote it.
        before = [cluster for cluster in clusters if cluster.attempt < what.attempt and cluster.launched_at is not None]
        cloud, region = (before[-1].cloud, before[-1].region) if before else (NOT_KNOWN, NOT_KNOWN)
    else:
        return  # written by another version, in words that this one cannot read
    day = _day(event.at)
    yield replace(blank, cloud=cloud, region=region, market="egress", day=day, egress_usd=what.usd)


def days(began: float, ended: float) -> list[tuple[str, float]]:
    """The days (UTC) from one time to another, seconds since the epoch, with the share that each has of it."""
    if ended <= began:
        return [(_day(began), 1.0)]
    shares, at = [], began
    while at < ended:
        midnight = min(ended, (at // DAY_S + 1) * DAY_S)
        shares.append((_day(at), (midnight - at) / (ended - began)))
        at = midnight
    return shares


def _day(at: float) -> str:
    # Not by way of datetime, which rounds the last half microsecond of a day up into the next.
    return date.fromordinal(EPOCH + int(at // DAY_S)).isoformat()
