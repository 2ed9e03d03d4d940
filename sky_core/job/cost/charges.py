"""The bill in its smallest pieces: each launch and each transfer, with all that it can be sorted by."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from sky_core.config import Scale
from sky_core.events import Moved, Restored
from sky_core.job.bill import cluster_hours
from sky_core.store import Cluster, Event, Store

DAY_S = 24 * 3600.0
EPOCH = date(1970, 1, 1).toordinal()
NOT_KNOWN = "?"

Name = tuple[str, str, str, str]
"""Pipeline, run, task and job: the first fields of a charge."""


class Charge(NamedTuple):
    """What one launch cost on one day, or one transfer. A tuple, since there are tens of thousands.

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

    @property
    def usd(self) -> float:
        """Compute and egress."""
        return self.compute_usd + self.egress_usd


def charges(store: Store, scale: Scale, now: float | None = None, *, first: str | None = None) -> list[Charge]:
    """All that the jobs of a store have cost, or what they have since the ``first`` day, which is in UTC.

    A few questions to the store, however many jobs there are.
    """
    since = (date.fromisoformat(first).toordinal() - EPOCH) * DAY_S if first is not None else None
    moment = time.time() if now is None else now
    pipelines = store.pipeline_names()
    names = {
        job.id: (pipelines.get(job.plan_key, NOT_KNOWN), job.plan_key, job.task, job.id) for job in store.job_names()
    }
    clusters = [cluster for cluster in store.clusters(since=since) if cluster.job_id in names]
    found = [charge for one in clusters for charge in _of_launch(names[one.job_id], one, scale, moment)]
    restored = store.events_of((Restored.kind,), since=since)
    # Of all times: a checkpoint may have been written on a day before the first.
    places = _places(store.clusters_of(list({event.job_id for event in restored})))
    for event in (*store.events_of((Moved.kind,), since=since), *restored):
        if event.job_id in names:
            found += _of_transfer(names[event.job_id], event, places.get(event.job_id, ()))
    return found if first is None else [charge for charge in found if charge.day >= first]


def _of_launch(name: Name, cluster: Cluster, scale: Scale, now: float) -> Iterator[Charge]:
    hours = cluster_hours(cluster, scale, now)
    if not hours and not cluster.open:
        return  # a launch that was refused
    began = cluster.started_at or cluster.launched_at or cluster.intended_at
    ended = cluster.stopped_at or cluster.ended_at or now
    for day, share in days(began, ended):
        part = hours * share
        usd = part * cluster.price
        yield Charge(*name, cluster.cloud, cluster.region, cluster.market, day, usd, 0.0, part, cluster.open)


def _places(clusters: Iterable[Cluster]) -> dict[str, list[Cluster]]:
    """Where each job had machines, in the order of its attempts."""
    found: dict[str, list[Cluster]] = {}
    for cluster in clusters:
        if cluster.launched_at is not None:
            found.setdefault(cluster.job_id, []).append(cluster)
    return found


def _of_transfer(name: Name, event: Event, launched: Iterable[Cluster]) -> Iterator[Charge]:
    what = event.what
    if isinstance(what, Moved):
        cloud, _, region = what.from_.partition("/")
    elif isinstance(what, Restored):
        # The event does not say where the checkpoint lay: beside the machines of the attempt that wrote it.
        before = [cluster for cluster in launched if cluster.attempt < what.attempt]
        cloud, region = (before[-1].cloud, before[-1].region) if before else (NOT_KNOWN, NOT_KNOWN)
    else:
        return  # written by another version, in words that this one cannot read
    yield Charge(*name, cloud, region, "egress", _day(event.at), egress_usd=what.usd)


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
    return _written(EPOCH + int(at // DAY_S))


@lru_cache(4096)
def _written(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()
