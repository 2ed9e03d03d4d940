"""What is new of many jobs at once, for a process in which a hundred of them are waited for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads
from sky_core.store.reading import rows
from sky_core.store.reading.listing import AT_ONCE
from sky_core.store.records import Event, Job
from sky_core.store.tables import EVENTS, JOBS, LOGS

LOG_BYTES = 1_000_000  # of one job's log at a time, to which the piece that the limit falls into is added


class Mark(NamedTuple):
    """A moment in a job's life: it has changed since when this one differs."""

    updated_at: float
    cancel_reason: str | None

    @classmethod
    def of(cls, job: Job) -> Mark:
        """Of a job as it was read."""
        return cls(job.updated_at, job.cancel_reason)


@dataclass(frozen=True)
class Seen:
    """How much of a job somebody knows.

    Attributes:
        event: Id of the last event.
        offset: Bytes of the log.
        mark: Of the job when all its news were read; None if they were not.
    """

    job_id: str
    event: int = 0
    offset: int = 0
    mark: Mark | None = None


@dataclass(frozen=True)
class News:
    """A job as it is, and what was not known of it.

    Attributes:
        log: From the offset known on.
        more: Whether there is more log than this.
    """

    job: Job
    events: tuple[Event, ...] = ()
    log: bytes = b""
    more: bool = False

    def after(self, seen: Seen) -> Seen:
        """What somebody knows who knew that, and has read these news."""
        event = self.events[-1].id if self.events else seen.event
        return Seen(seen.job_id, event, seen.offset + len(self.log), None if self.more else Mark.of(self.job))


class Newspaper(Part):
    """What those ask who follow many jobs."""

    @reads
    def news(self, db: sa.Connection, seen: Iterable[Seen]) -> dict[Seen, News]:
        """The news of each job: one query for all of them, and two for each that has changed.

        A job that is not there is left out.
        """
        seen = list(seen)
        wanted = list({one.job_id for one in seen})
        parts = (JOBS.c.id.in_(wanted[at : at + AT_ONCE]) for at in range(0, len(wanted), AT_ONCE))
        found = [rows.job(row) for part in parts for row in db.execute(sa.select(JOBS).where(part))]
        jobs = {job.id: job for job in found}  # read first: what belongs to a job's end is there by then
        return {one: _news(db, one, jobs[one.job_id]) for one in seen if one.job_id in jobs}


def _news(db: sa.Connection, seen: Seen, job: Job) -> News:
    if seen.mark == Mark.of(job):
        return News(job)
    events = sa.select(EVENTS).where(EVENTS.c.job_id == job.id, EVENTS.c.id > seen.event).order_by(EVENTS.c.id)
    log, more = _log(db, seen)
    return News(job, tuple(rows.event(row) for row in db.execute(events)), log, more)


def _log(db: sa.Connection, seen: Seen) -> tuple[bytes, bool]:
    """The log from there on, and whether it goes on after that."""
    of_job, limit = LOGS.c.job_id == seen.job_id, seen.offset + LOG_BYTES
    unknown = (LOGS.c.offset + sa.func.length(LOGS.c.data) > seen.offset) & (LOGS.c.offset < limit)
    query = sa.select(LOGS.c.offset, LOGS.c.data).where(of_job, unknown).order_by(LOGS.c.offset)
    pieces = db.execute(query).all()
    if not pieces:
        return b"", False
    data = b"".join(piece.data for piece in pieces)
    end = pieces[0].offset + len(data)
    beyond = sa.select(sa.literal(1)).where(of_job, LOGS.c.offset >= end).limit(1)
    more = end >= limit and db.execute(beyond).first() is not None
    return data[max(seen.offset - pieces[0].offset, 0) :], more
