"""One run as it is now: how far each task is, what it has cost of what was planned, and how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sky_core.measures.scale import Scale
from sky_core.overview.jobs import JobRow
from sky_core.planner.plan import Plan

ALMOST = 0.99  # what a task is done at most that has not said that it is over


@dataclass(frozen=True)
class TaskNow:
    """A task of a run.

    Attributes:
        state: Its job's; ``waiting`` while it has none.
        machine: Where it is and on what; where it is planned to be, while it has no job.
        attempt: Counted from 1; 0 before the first launch.
        done: Share of the hours that were planned for it, by the time its present machine has had; None without one.
        usd: What it has cost so far.
        planned_usd: None for a task that the plan does not know.
        left_h: Hours that it still takes by the plan once it is there; 0 when it is over.
    """

    task: str
    state: str
    machine: str
    market: str
    attempt: int
    done: float | None
    usd: float
    planned_usd: float | None
    left_h: float


@dataclass(frozen=True)
class RunNow:
    """A run.

    Attributes:
        tasks: In the order of the plan.
        left_h: Hours until the last task ends, by the plan.
    """

    tasks: tuple[TaskNow, ...]
    left_h: float

    @property
    def usd(self) -> float:
        """What it has cost so far."""
        return sum(task.usd for task in self.tasks)

    @property
    def planned_usd(self) -> float:
        """What it was planned to cost."""
        return sum(task.planned_usd or 0.0 for task in self.tasks)


def run_now(plan: Plan, rows: Mapping[str, JobRow], scale: Scale, now: float) -> RunNow:
    """A run from its plan and its jobs by task; ``now`` in seconds since the epoch."""
    tasks = [_task(name, plan, rows.get(name), scale, now) for name in dict.fromkeys([*plan.placements, *rows])]
    return RunNow(tuple(tasks), _left(plan, tasks))


def _task(name: str, plan: Plan, row: JobRow | None, scale: Scale, now: float) -> TaskNow:
    placed = plan.placements.get(name)
    usd = placed.compute_usd + placed.egress_usd if placed else None
    hours = placed.expected_hours + placed.transfer_hours if placed else 0.0
    if row is None:
        assert placed is not None
        place = f"{placed.cloud}/{placed.zone or placed.region} {placed.instance_type}"
        return TaskNow(name, "waiting", _gang(place, placed.num_nodes), placed.market, 0, None, 0.0, usd, hours)
    at = row.cluster
    machine = _gang(f"{at.place} {at.instance_type}", at.num_nodes) if at else "-"
    # What waits in its cloud's queue, or boots where that is free, has no bill yet, and does not get on.
    there = max(at.launched_at, at.started_at or 0.0) if at and at.open and at.launched_at is not None else None
    ran = None if there is None else scale.hours(max(0.0, now - there))
    over = row.job.over
    done = 1.0 if row.job.state == "succeeded" else None if over or ran is None or not hours else ran / hours
    return TaskNow(
        task=name,
        state=row.job.state,
        machine=machine,
        market=at.bought if at else "",
        attempt=row.job.attempt,
        done=done if over or done is None else min(done, ALMOST),
        usd=row.spent.usd,
        planned_usd=usd,
        left_h=0.0 if over else max(0.0, hours - (ran or 0.0)),
    )


def _gang(machine: str, nodes: int) -> str:
    return f"{machine} ×{nodes}" if nodes > 1 else machine


def _left(plan: Plan, tasks: Iterable[TaskNow]) -> float:
    """Along the longest way through what is left; what comes after a task that has failed is not waited for."""
    left = {task.task: task.left_h for task in tasks}
    needs: dict[str, list[str]] = {name: [] for name in left}
    for transfer in plan.transfers:
        if transfer.source in left and transfer.task in left:
            needs[transfer.task].append(transfer.source)
    lost = {task.task for task in tasks if task.state in ("failed", "cancelled")}
    ends: dict[str, float | None] = dict.fromkeys(lost)

    for name in left:
        ways = [name]
        while ways:  # by a stack of its own: a chain may be longer than Python's
            missing = [source for source in needs[ways[-1]] if source not in ends]
            if ways[-1] not in ends and not missing:
                before = [ends[source] for source in needs[ways[-1]]]
                known = [end for end in before if end is not None]
                ends[ways[-1]] = left[ways[-1]] + max(known, default=0.0) if len(known) == len(before) else None
            if missing:
                ways += missing
            else:
                ways.pop()
    return max((end for end in ends.values() if end is not None), default=0.0)
