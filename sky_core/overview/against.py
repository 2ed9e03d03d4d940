"""A run's bill against its first plan: how much it is off, and why, to the cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.job.bill import cluster_hours, idle_hours
from sky_core.measures.scale import Scale
from sky_core.overview.jobs import JobRow
from sky_core.planner.plan import Placement, Plan
from sky_core.store import Cluster


@dataclass(frozen=True)
class Reason:
    """A part of the difference.

    Attributes:
        usd: What it has made the bill dearer (above 0) or cheaper.
    """

    task: str
    why: str
    usd: float


@dataclass(frozen=True)
class Against:
    """What was planned and what came of it, USD.

    Attributes:
        replanned_usd: What the newest plan says, made when it was known what had gone wrong, and what attempts that
            had ended by then have cost; as planned if nothing had gone wrong.
        reasons: They add up to the difference; those that matter most first.
        alone: The best that one cloud alone could have done by the first plan, and that cloud; None if none could.
    """

    planned_usd: float
    replanned_usd: float
    usd: float
    reasons: tuple[Reason, ...]
    alone: tuple[str, float] | None


def against(first: Plan, newest: Plan, rows: Sequence[JobRow], scale: Scale, now: float) -> Against:
    """The jobs of a run, newest first, against the plan that it began with, and what incidents have made of it."""
    tries: dict[str, list[JobRow]] = {task: [] for task in first.placements}
    for row in rows:
        tries.setdefault(row.job.task, []).append(row)
    reasons: list[Reason] = []
    for task, found in tries.items():
        reasons += _of_task(task, first.placements.get(task), found[0] if found else None, scale, now)
        reasons += [Reason(task, f"was tried before ({row.job.state})", row.spent.usd) for row in found[1:]]
    ordered = sorted(reasons, key=lambda reason: -abs(reason.usd))
    usd = sum(row.spent.usd for row in rows)
    replanned = _planned(newest) + sum(_gone(row, newest.created_at, scale, now) for row in rows)
    return Against(_planned(first), replanned, usd, tuple(ordered), first.best_single_cloud())


def _gone(row: JobRow, planned_at: float, scale: Scale, now: float) -> float:
    """USD of a job's attempts that were over when a plan was made, and that it could not plan any more."""
    before = [one for one in row.spent.clusters if one.launched_at is not None][:-1]
    over = (one for one in before if (one.stopped_at or one.ended_at or now) <= planned_at)
    return sum(_usd(one, scale, now) for one in over)


def _planned(plan: Plan) -> float:
    return sum(place.compute_usd + place.egress_usd for place in plan.placements.values())


def _of_task(task: str, planned: Placement | None, row: JobRow | None, scale: Scale, now: float) -> list[Reason]:
    if planned is None:
        return [Reason(task, "was not in the first plan", row.spent.usd)] if row else []
    if row is None:
        return [Reason(task, "did not run", -planned.compute_usd - planned.egress_usd)]
    launched = [one for one in row.spent.clusters if one.launched_at is not None]
    if not launched:
        return [Reason(task, "had no machine", -planned.compute_usd - planned.egress_usd + row.spent.usd)]
    *before, last = launched
    earlier = sum(_usd(one, scale, now) for one in before)
    idle, rate = idle_hours(last, scale, now) / last.num_nodes, last.price * last.num_nodes
    hours = cluster_hours(last, scale, now) / last.num_nodes - idle
    dearer = rate - planned.price * planned.num_nodes
    found = [
        Reason(task, _attempts(before), earlier),
        Reason(task, f"ran on {_machine(last)}, planned was {planned.machine}", dearer * planned.expected_hours),
        Reason(task, f"was billed {hours:.2f} h of {planned.expected_hours:.2f} h planned",
               (hours - planned.expected_hours) * rate),
        Reason(task, f"kept its machines for {idle:.2f} h", idle * rate),
        Reason(task, "moved other data than planned", row.spent.egress_usd - planned.egress_usd),
    ]  # fmt: skip
    return [reason for reason in found if abs(reason.usd) > 1e-9]


def _attempts(before: list[Cluster]) -> str:
    ends = ", ".join(dict.fromkeys(one.outcome for one in before if one.outcome))
    return f"had {len(before)} attempt{'s' if len(before) > 1 else ''} before ({ends})"


def _usd(cluster: Cluster, scale: Scale, now: float) -> float:
    return cluster_hours(cluster, scale, now) * cluster.price


def _machine(cluster: Cluster) -> str:
    return f"{cluster.place} {cluster.instance_type} ({cluster.market})"
