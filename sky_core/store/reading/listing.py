"""Listings of jobs: a few columns of many rows, chosen and counted by the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads
from sky_core.store.reading import rows
from sky_core.store.records import TERMINAL, Cluster, Event, JobLine, JobName, RunLine
from sky_core.store.tables import CLUSTERS, EVENTS, JOBS

AT_ONCE = 500  # ids in one statement
LINE = [JOBS.c[name] for name in JobLine._fields]


@dataclass(frozen=True)
class Choice:
    """Which jobs are meant; what is not said leaves none out.

    Attributes:
        states: Those they are in; empty for all.
        since: When they were submitted at the earliest, seconds since the epoch.
        name: Part of the name of their task or of their run, whatever its case.
        runs: The keys of their runs; empty for all. A few hundred at most.
    """

    states: tuple[str, ...] = ()
    since: float | None = None
    name: str = ""
    runs: tuple[str, ...] = ()

    def condition(self) -> sa.ColumnElement[bool]:
        """The same for the database."""
        wanted: list[sa.ColumnElement[bool]] = [sa.true()]
        if self.states:
            wanted.append(JOBS.c.state.in_(self.states))
        if self.since is not None:
            wanted.append(JOBS.c.created_at >= self.since)
        if self.name:
            names = (sa.func.lower(column) for column in (JOBS.c.task, JOBS.c.plan_key))
            wanted.append(sa.or_(*(name.contains(self.name.lower(), autoescape=True) for name in names)))
        if self.runs:
            wanted.append(JOBS.c.plan_key.in_(self.runs))
        return sa.and_(*wanted)


ALL = Choice()


class Listings(Part):
    """What listings ask of a store."""

    @reads
    def job_lines(
        self, db: sa.Connection, choice: Choice = ALL, *, limit: int | None = None, skip: int = 0
    ) -> list[JobLine]:
        """The jobs meant, newest first, without what only drivers need."""
        query = sa.select(*LINE).where(choice.condition()).order_by(JOBS.c.created_at.desc(), JOBS.c.id)
        return [JobLine(*row) for row in db.execute(query.limit(limit).offset(skip))]

    @reads
    def count_jobs(self, db: sa.Connection, choice: Choice = ALL) -> dict[str, int]:
        """How many of the jobs meant are in each state."""
        query = sa.select(JOBS.c.state, sa.func.count().label("jobs")).where(choice.condition()).group_by(JOBS.c.state)
        return {row.state: row.jobs for row in db.execute(query)}

    @reads
    def run_lines(self, db: sa.Connection, choice: Choice = ALL, *, limit: int, skip: int = 0) -> list[RunLine]:
        """Runs that have a job which is meant, the one begun last first."""
        live = sa.case((JOBS.c.state.not_in(TERMINAL), 1), else_=0)
        failed = sa.case((JOBS.c.state.in_(("failed", "cancelled")), 1), else_=0)
        began = sa.func.min(JOBS.c.created_at)
        query = sa.select(
            JOBS.c.plan_key, began, sa.func.max(JOBS.c.updated_at), sa.func.count(), sa.func.sum(live),
            sa.func.sum(failed),
        )  # fmt: skip
        query = query.where(choice.condition()).group_by(JOBS.c.plan_key).order_by(began.desc(), JOBS.c.plan_key)
        return [RunLine(*row) for row in db.execute(query.limit(limit).offset(skip))]

    @reads
    def count_runs(self, db: sa.Connection, choice: Choice = ALL) -> int:
        """How many runs have a job which is meant."""
        query = sa.select(sa.func.count(JOBS.c.plan_key.distinct())).where(choice.condition())
        return int(db.execute(query).scalar_one())

    @reads
    def count_events(self, db: sa.Connection) -> dict[str, int]:
        """How many events of each kind there are."""
        query = sa.select(EVENTS.c.kind, sa.func.count().label("events")).group_by(EVENTS.c.kind)
        return {row.kind: row.events for row in db.execute(query)}

    @reads
    def job_names(self, db: sa.Connection) -> list[JobName]:
        """All jobs by name only, oldest first."""
        query = sa.select(JOBS.c.id, JOBS.c.plan_key, JOBS.c.task).order_by(JOBS.c.created_at, JOBS.c.id)
        return [JobName(*row) for row in db.execute(query)]

    @reads
    def called(self, db: sa.Connection, text: str, limit: int) -> list[JobLine]:
        """Jobs that a user may mean by ``text``: by id; else by its beginning, task, ``run/task`` or key.

        Args:
            limit: How many at most, newest first.
        """
        query = sa.select(*LINE).order_by(JOBS.c.created_at.desc(), JOBS.c.id).limit(limit)
        exact = db.execute(query.where(JOBS.c.id == text)).all()
        if exact:
            return [JobLine(*row) for row in exact]
        begins = [JOBS.c.id.startswith(start, autoescape=True) for start in (text, f"job-{text}")]
        whole = JOBS.c.plan_key + "/" + JOBS.c.task
        meant = sa.or_(*begins, JOBS.c.task == text, JOBS.c.key == text, whole == text)
        return [JobLine(*row) for row in db.execute(query.where(meant))]

    @reads
    def clusters_of(self, db: sa.Connection, jobs: Sequence[str]) -> list[Cluster]:
        """The clusters of these jobs, each job's in the order of its attempts."""
        query = sa.select(CLUSTERS).order_by(CLUSTERS.c.intended_at, CLUSTERS.c.attempt, CLUSTERS.c.token)
        return [rows.cluster(row) for part in parts(CLUSTERS.c.job_id, jobs) for row in db.execute(query.where(part))]

    @reads
    def events_of(
        self,
        db: sa.Connection,
        kinds: Sequence[str],
        *,
        jobs: Sequence[str] | None = None,
        since: float | None = None,
    ) -> list[Event]:
        """The events of these kinds, each job's oldest first: of all jobs or of some, of all times or from one on."""
        query = sa.select(EVENTS).where(EVENTS.c.kind.in_(kinds)).order_by(EVENTS.c.id)
        if since is not None:
            query = query.where(EVENTS.c.at >= since)
        wanted = [sa.true()] if jobs is None else parts(EVENTS.c.job_id, jobs)
        return [rows.event(row) for part in wanted for row in db.execute(query.where(part))]


def parts(column: sa.ColumnElement[str], ids: Collection[str]) -> Iterator[sa.ColumnElement[bool]]:
    """Conditions that together let these ids pass, none longer than what every database takes."""
    wanted = list(ids)
    for at in range(0, len(wanted), AT_ONCE):
        yield column.in_(wanted[at : at + AT_ONCE])
