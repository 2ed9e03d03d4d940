"""What jobs have cost: machines by the hour they existed, egress by the gigabyte that moved."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sky_core.facts import facts_of
from sky_core.measures.scale import Scale
from sky_core.store import Cluster, Job, Listings

if TYPE_CHECKING:
    from sky_core.config import Settings


class InParts:
    """What cost so much for machines and so much for data that moved, USD."""

    compute_usd: float
    egress_usd: float

    @property
    def usd(self) -> float:
        """Compute and egress."""
        return self.compute_usd + self.egress_usd


@dataclass(frozen=True)
class Line(InParts):
    """One task on the bill.

    Attributes:
        compute_usd: All its attempts: hours between launch and end, times price, times machines (:func:`cluster_usd`).
        egress_usd: Its inputs and restored checkpoints at the catalog's egress prices.
        hours: Machine hours paid for.
    """

    task: str
    job_id: str
    state: str
    compute_usd: float
    egress_usd: float
    hours: float


@dataclass(frozen=True)
class Bill:
    """The tasks of one run and what they have cost, USD."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """The sum."""
        return sum(line.usd for line in self.lines)


@dataclass(frozen=True)
class Spent(InParts):
    """What a job has cost so far.

    Attributes:
        clusters: Its launches in the order of their attempts, refused ones among them.
    """

    clusters: tuple[Cluster, ...]
    compute_usd: float
    egress_usd: float
    hours: float


def make_bill(store: Listings, settings: Settings, jobs: Iterable[Job]) -> Bill:
    """Add up what the store's clusters and transfers say."""
    ordered = sorted(jobs, key=lambda job: job.created_at)
    spent = spent_on(store, settings.scale, [job.id for job in ordered])
    lines = (
        Line(job.task, job.id, job.state, it.compute_usd, it.egress_usd, it.hours)
        for job in ordered
        for it in (spent[job.id],)
    )
    return Bill(tuple(lines))


def spent_on(store: Listings, scale: Scale, job_ids: Sequence[str], now: float | None = None) -> dict[str, Spent]:
    """What each of these jobs has cost, in two questions to the store however many there are."""
    moment = time.time() if now is None else now
    clusters: dict[str, list[Cluster]] = {job_id: [] for job_id in job_ids}
    for cluster in store.clusters_of(job_ids):
        clusters[cluster.job_id].append(cluster)
    egress = store.egress_of(job_ids)
    return {job_id: _spent(clusters[job_id], egress.get(job_id, 0.0), scale, moment) for job_id in job_ids}


def _spent(clusters: Sequence[Cluster], egress: float, scale: Scale, now: float) -> Spent:
    hours = sum(cluster_hours(cluster, scale, now) for cluster in clusters)
    usd = sum(cluster_usd(cluster, scale, now) for cluster in clusters)
    return Spent(tuple(clusters), usd, egress, hours)


def cluster_hours(cluster: Cluster, scale: Scale, now: float | None = None, *, since: float = 0.0) -> float:
    """Machine hours of a cluster that its cloud charges until ``now`` for what was after ``since``, all machines."""
    hours, taken = lifetime(cluster, scale, now, since=since), cluster.launched_as is not None
    return charged_hours(cluster.cloud, cluster.instance_type, cluster.num_nodes, hours, taken=taken)


def cluster_usd(cluster: Cluster, scale: Scale, now: float | None = None, *, since: float = 0.0) -> float:
    """What those hours cost: a machine that outlives its reservation costs the price on demand from then on."""
    return _priced(cluster, cluster_hours(cluster, scale, now, since=since), scale, now, since)


def idle_usd(cluster: Cluster, scale: Scale, now: float | None = None) -> float:
    """What its idle hours cost."""
    return _priced(cluster, idle_hours(cluster, scale, now), scale, now, cluster.kept_at or 0.0)


def _priced(cluster: Cluster, hours: float, scale: Scale, now: float | None, since: float) -> float:
    if cluster.reserved_until is None or cluster.price_after is None:
        return hours * cluster.price
    late = lifetime(cluster, scale, now, since=max(since, cluster.reserved_until)) * cluster.num_nodes
    return hours * cluster.price + min(late, hours) * (cluster.price_after - cluster.price)


def idle_hours(cluster: Cluster, scale: Scale, now: float | None = None) -> float:
    """Machine hours of a cluster for which it was kept, or is, when its job was over."""
    moment, ended = min(time.time() if now is None else now, cluster.gone_by), cluster.stopped_at
    return 0.0 if cluster.kept_at is None else existed(cluster.kept_at, ended, scale, moment) * cluster.num_nodes


def charged_hours(cloud: str, instance_type: str, num_nodes: int, hours: float, *, taken: bool = False) -> float:
    """Machine hours that a cloud charges for so many machines which existed so long.

    Args:
        taken: Whether they were another job's before, whose bill has what a cloud charges at least.
    """
    return (hours if taken else facts_of(cloud).billed_hours(instance_type, hours)) * num_nodes


def lifetime(cluster: Cluster, scale: Scale, now: float | None = None, *, since: float = 0.0) -> float:
    """Hours that a cluster's machines existed after ``since``: by their cloud's record, else from the launch being
    accepted to its end. Machines that are kept have one, whether it is on record yet or not."""
    moment = min(time.time() if now is None else now, cluster.gone_by)
    began = cluster.started_at if cluster.started_at is not None else cluster.launched_at
    ended = cluster.stopped_at if cluster.stopped_at is not None else cluster.ended_at
    return existed(began, ended, scale, moment, since=since)


def existed(began: float | None, ended: float | None, scale: Scale, now: float, *, since: float = 0.0) -> float:
    """Hours between two times, either of which may be to come, after ``since``.

    Never less than none, whatever the clocks of the cloud and of this machine say of each other.
    """
    if began is None:
        return 0.0
    return scale.hours(max(0.0, (now if ended is None else ended) - max(began, since)))


def on_record(times: Sequence[float | None], ours: float) -> float | None:
    """When the bill of a cluster begins, or ends, by its cloud's times of its machines; None if it tells of none.

    It is their mean: that of all machines together then is the sum of their bills, also where a launch was interrupted
    between them, or one died before the others.

    Args:
        ours: Our own time of the call that brought it about.
    """
    told = [sharpened(one, ours) for one in times if one is not None]
    return sum(told) / len(told) if told else None


def sharpened(told: float, ours: float) -> float:
    """A cloud's own time of a start or an end, better than to the second.

    EC2 tells whole seconds, cut off. Within that second it is taken for our own time of the call that brought it about;
    where that was in another one, for the second's middle.
    """
    if told % 1:
        return told
    return ours if told <= ours < told + 1 else told + 0.5
