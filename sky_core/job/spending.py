"""What may be spent: hard caps per job, run and day, and how much of them is gone or promised."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sky_core.config import Settings
from sky_core.job.bill import cluster_usd
from sky_core.job.memory import Memory
from sky_core.measures.scale import Scale
from sky_core.planner.plan import Placement
from sky_core.spec import Objective, Task
from sky_core.store import Cluster, Job, Store

DAY_S = 24 * 3600.0  # real seconds, from midnight UTC


@dataclass(frozen=True)
class Cap:
    """A hard limit of what may be spent.

    Attributes:
        scope: What its money is for: this job, all jobs of its run, or all jobs of the store since midnight (UTC).
        name: What it is called, and where it can be raised.
    """

    scope: Literal["job", "run", "day"]
    usd: float
    name: str


def caps(settings: Settings, task: Task, goal: Objective) -> list[Cap]:
    """The caps that a job is under."""
    given: list[tuple[Literal["job", "run", "day"], float | None, str]] = [
        ("job", task.budget_usd, f"budget_usd of Task.{task.name}"),
        ("run", goal.budget_usd, "budget_usd of the run (--budget, or the flow's or DAG's own)"),
    ]
    by_file = f"[limits] of {settings.home / 'config.toml'}"
    for limits, where in ((settings.limits, by_file), (settings.granted, settings.granted.by)):
        given += [
            ("job", limits.usd_per_job, f"usd_per_job, {where}"),
            ("run", limits.usd_per_run, f"usd_per_run, {where}"),
            ("day", limits.usd_per_day, f"usd_per_day, {where}"),
        ]
    return [Cap(scope, usd, name) for scope, usd, name in given if usd is not None]


def estimate(place: Placement, memory: Memory, *, first: bool) -> float:
    """USD that a launch there is expected to cost: what checkpoints hold is not done again, inputs are there once."""
    rest = place.model_copy(update={"done": max(place.done, memory.tries.kept)})
    return rest.expected_hours * place.price * place.num_nodes + (place.egress_usd if first else 0.0)


def exceeded(
    store: Store,
    settings: Settings,
    job: Job,
    allowed: Iterable[Cap],
    usd: float,
    mine: Cluster | None = None,
    *,
    what: str = "a launch",
) -> str | None:
    """Which cap another ``usd`` for the job would exceed, in one line that says ``what`` they are for; None if none.

    Other jobs' open launches count with what they are expected to cost, if that is more than what they have cost, and
    machines that are kept with the time that they still are.
    With ``mine``, an intent of this job that is written down already, intents of others count if they came before it:
    of two drivers that write first and ask then, one sees the other.
    """
    now = time.time()
    for cap in allowed:
        gone = _committed(store, settings.scale, job, cap, now, mine)
        if gone + usd > cap.usd:
            return (
                f"{what} estimated at {_told(usd)} is not made: {_told(gone)} of {_told(cap.usd)} are spent or "
                f"promised; whoever set it can raise it: {cap.name}"
            )
    return None


def _told(usd: float) -> str:
    """To the cent; what is less by what it is, so that no limit reads as none."""
    return f"${usd:.2f}" if usd >= 0.01 or usd == 0 else f"${usd:.2g}"


def _committed(store: Store, scale: Scale, job: Job, cap: Cap, now: float, mine: Cluster | None) -> float:
    if cap.scope == "day":
        since = now - now % DAY_S
        return _sum(store, scale, store.clusters(since=since), job, now, mine, since)
    jobs = [job] if cap.scope == "job" else store.jobs(plan_key=job.plan_key, limit=1_000_000)
    clusters = [cluster for one in jobs for cluster in store.clusters(job_id=one.id)]
    return _sum(store, scale, clusters, job, now, mine, 0.0)


def _sum(
    store: Store, scale: Scale, clusters: Iterable[Cluster], job: Job, now: float, mine: Cluster | None, since: float
) -> float:
    total, jobs = 0.0, set[str]()
    for cluster in clusters:
        jobs.add(cluster.job_id)
        spent = cluster_usd(cluster, scale, now, since=since)
        promised = 0.0
        if cluster.state == "kept":
            promised = cluster_usd(cluster, scale, max(now, cluster.kept_until or now), since=since)
        elif cluster.job_id != job.id and cluster.open and _before(cluster, mine):
            promised = _promised(store.job(cluster.job_id))
        total += max(spent, promised)
    return total + sum(store.egress_of(jobs, since).values())


def _before(other: Cluster, mine: Cluster | None) -> bool:
    if mine is None or other.state != "intended":
        return True
    return (other.intended_at, other.token) < (mine.intended_at, mine.token)


def _promised(job: Job) -> float:
    memory = Memory.model_validate(job.memory)
    place = memory.successor or memory.placement
    return estimate(place, memory, first=True) if place else 0.0
