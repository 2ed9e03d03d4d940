"""A run's bill against its first plan: how much it is off, and why, to the cent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.job.bill import cluster_hours, cluster_usd, idle_hours
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
    before, _ = _by_attempt(row)
    over = (one for one in before if (one.stopped_at or one.ended_at or now) <= planned_at)
    return sum(_usd(one, scale, now) for one in over)


def _planned(plan: Plan) -> float:
    return sum(place.compute_usd + place.egress_usd for place in plan.placements.values())


def _of_task(task: str, planned: Placement | None, row: JobRow | None, scale: Scale, now: float) -> list[Reason]:
    if planned is None:
        return [Reason(task, "was not in the first plan", row.spent.usd)] if row else []
    if row is None:
        return [Reason(task, "did not run", -planned.compute_usd - planned.egress_usd)]
    before, last = _by_attempt(row)
    if not last:
        return [Reason(task, "had no machine", -planned.compute_usd - planned.egress_usd + row.spent.usd)]
    nodes = planned.num_nodes
    earlier = sum(_usd(one, scale, now) for one in before)
    paid = sum(cluster_hours(one, scale, now) for one in last)
    price = sum(_usd(one, scale, now) for one in last) / paid if paid else last[0].price
    idle = sum(idle_hours(one, scale, now) for one in last) / nodes
    hours, rate = paid / nodes - idle, price * nodes
    dearer = rate - planned.price * nodes
    ran = f"ran on {_machine(last[0])}, planned was {planned.machine}"
    if _machine(last[0]) == planned.machine:
        ran = f"ran at ${price:.4f} an hour of a machine, planned was ${planned.price:.4f}"
    found = [
        Reason(task, _attempts(before), earlier),
        Reason(task, ran, dearer * planned.expected_hours),
        Reason(task, f"was billed {hours:.2f} h of {planned.expected_hours:.2f} h planned",
               (hours - planned.expected_hours) * rate),
        Reason(task, f"kept its machines for {idle:.2f} h", idle * rate),
        Reason(task, "moved other data than planned", row.spent.egress_usd - planned.egress_usd),
    ]  # fmt: skip
    return [reason for reason in found if abs(reason.usd) > 1e-9]


def _by_attempt(row: JobRow) -> tuple[list[Cluster], list[Cluster]]:
    """Launches of a job: of all attempts but its last, and of that: the gang before the machines added to it."""
    launched = [one for one in row.spent.clusters if one.launched_at is not None]
    newest = max((one.attempt for one in launched), default=0)
    last = sorted((one for one in launched if one.attempt == newest), key=lambda one: len(one.token))  # theirs go on
    return [one for one in launched if one.attempt < newest], last


def _attempts(before: list[Cluster]) -> str:
    count = len({one.attempt for one in before})
    ends = ", ".join(dict.fromkeys(one.outcome for one in before if one.outcome))
    return f"had {count} attempt{'s' if count > 1 else ''} before ({ends})"


def _usd(cluster: Cluster, scale: Scale, now: float) -> float:
    return cluster_usd(cluster, scale, now)


def _machine(cluster: Cluster) -> str:
    return f"{cluster.place} {cluster.instance_type} ({cluster.bought})"
