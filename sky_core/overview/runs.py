"""Runs as rows, and one run in time: what was planned, and what happened on which machines."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from sky_core.job.bill import cluster_usd, lifetime
from sky_core.measures.scale import Scale
from sky_core.overview.jobs import JobRow, job_rows
from sky_core.planner.plan import Plan
from sky_core.store import Choice, RunLine, Store


@dataclass(frozen=True)
class RunRow:
    """A run with its money, USD."""

    run: RunLine
    usd: float

    @property
    def state(self) -> str:
        """``live``, ``failed`` (something in it has) or ``succeeded``, as far as tasks have jobs."""
        return "live" if self.run.live else "failed" if self.run.failed else "succeeded"


@dataclass(frozen=True)
class Leg:
    """Machines of a task, in hours since the run was first planned.

    Attributes:
        end: Now, while they may exist.
        usd: As billed, which may be for more than they existed (a minute at least).
        outcome: Why they ended; empty while they run.
    """

    begin: float
    end: float
    cloud: str
    place: str
    market: str
    usd: float
    outcome: str


@dataclass(frozen=True)
class TaskLine:
    """One task in time: when it was first planned to run, hours from the run's beginning, and what happened."""

    task: str
    planned: tuple[float, float] | None
    planned_usd: float | None
    legs: tuple[Leg, ...]
    row: JobRow | None


@dataclass(frozen=True)
class Timeline:
    """A run in time.

    Attributes:
        hours: From the run's beginning to the end of all that is shown.
        planned_usd: What the first plan said that it costs.
        replanned: How often the plan was made anew.
    """

    key: str
    plan: Plan
    tasks: tuple[TaskLine, ...]
    hours: float
    planned_usd: float
    replanned: int

    @property
    def usd(self) -> float:
        """What it has cost so far."""
        return sum(line.row.spent.usd for line in self.tasks if line.row)


def run_rows(store: Store, scale: Scale, choice: Choice, *, limit: int, skip: int = 0) -> list[RunRow]:
    """Runs that have a job which is meant, the one begun last first."""
    lines = store.run_lines(choice, limit=limit, skip=skip)
    usd = dict.fromkeys((line.key for line in lines), 0.0)
    for row in job_rows(store, scale, Choice(runs=tuple(usd))) if lines else ():
        usd[row.job.plan_key] += row.spent.usd
    return [RunRow(line, usd[line.key]) for line in lines]


def timeline(store: Store, scale: Scale, key: str, now: float | None = None) -> Timeline | None:
    """A run in time; None if there is no plan of that key that this version can read."""
    versions = store.plan_versions(key)
    first, newest = (_readable(versions[at]) if versions else None for at in (0, -1))
    if first is None or newest is None:
        return None
    moment = time.time() if now is None else now
    rows = newest_rows(store, scale, key, moment)
    names = list(dict.fromkeys([*first.placements, *newest.placements, *rows]))
    tasks = tuple(_line(name, first, rows, scale, moment) for name in names)
    ends = [leg.end for line in tasks for leg in line.legs] + [line.planned[1] for line in tasks if line.planned]
    return Timeline(key, newest, tasks, max(ends, default=0.0), first.cost_usd, len(versions) - 1)


def newest_plan(store: Store, key: str) -> Plan | None:
    """The plan that a run goes by now; None if there is none of that key that this version can read."""
    found = store.plan(key)
    return None if found is None else _readable(found.plan)


def newest_rows(store: Store, scale: Scale, key: str, now: float | None = None) -> dict[str, JobRow]:
    """A run's jobs by task: the newest, where an engine has tried a task again."""
    rows: dict[str, JobRow] = {}
    for row in job_rows(store, scale, Choice(runs=(key,)), now=now):
        rows.setdefault(row.job.task, row)
    return rows


def _readable(text: str) -> Plan | None:
    try:
        return Plan.model_validate_json(text)
    except ValidationError:
        return None


def _line(name: str, first: Plan, rows: Mapping[str, JobRow], scale: Scale, now: float) -> TaskLine:
    span, placement, row = first.schedule.get(name), first.placements.get(name), rows.get(name)
    return TaskLine(
        task=name,
        planned=None if span is None else (span.start, span.end),
        planned_usd=None if placement is None else placement.compute_usd + placement.egress_usd,
        legs=tuple(_legs(row, first.begun, scale, now)) if row else (),
        row=row,
    )


def _legs(row: JobRow, begun: float, scale: Scale, now: float) -> Sequence[Leg]:
    found = []
    for one in row.spent.clusters:
        if one.launched_at is None:
            continue
        begin, hours = scale.hours(max(0.0, one.launched_at - begun)), lifetime(one, scale, now)
        usd = cluster_usd(one, scale, now)
        place = f"{one.place} {one.instance_type}"
        found.append(Leg(begin, begin + hours, one.cloud, place, one.market, usd, one.outcome))
    return found
