"""A job that is over, in numbers for Airflow's own metrics, wherever it sends them: StatsD, Datadog, OpenTelemetry.

``skyloom.job.finished`` counts jobs, ``skyloom.job.launches`` and ``skyloom.job.refusals`` their launches by what came
of them (``outcome``: succeeded, preempted, …; of refusals capacity, quota, …), ``skyloom.job.usd`` adds up what
they have cost. ``skyloom.job.duration`` is the time from the submission to the end, ``skyloom.job.waiting`` that to
the first machine. All have the tags ``dag_id`` and ``task_id``; what is of a place has ``cloud``, ``region`` and
``market``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.observability import stats

from sky_core.job.bill import Spent
from sky_core.store import Cluster, Job


def tell_metrics(ti: Any, job: Job, spent: Spent) -> None:
    """Tell of a job of a task instance's that is over."""
    whose = {"dag_id": ti.dag_id, "task_id": ti.task_id}
    launched = [cluster for cluster in spent.clusters if cluster.launched_at is not None]
    stats.incr("skyloom.job.finished", tags={**whose, "state": job.state, **(_place(launched[-1]) if launched else {})})
    for cluster in spent.clusters:
        name = "skyloom.job.refusals" if cluster.launched_at is None else "skyloom.job.launches"
        stats.incr(name, tags={**whose, **_place(cluster), "outcome": cluster.outcome})
    usd: Any = spent.usd  # counters take fractions, whatever their types say
    stats.incr("skyloom.job.usd", usd, tags=whose)
    stats.timing("skyloom.job.duration", timedelta(seconds=job.updated_at - job.created_at), tags=whose)
    if launched and (first := launched[0].launched_at) is not None:
        stats.timing("skyloom.job.waiting", timedelta(seconds=first - job.created_at), tags=whose)


def _place(cluster: Cluster) -> dict[str, str]:
    return {"cloud": cluster.cloud, "region": cluster.region, "market": cluster.market}
