"""Leases: one driver advances a job at a time."""

from __future__ import annotations

import sqlalchemy as sa

from sky_core.store import rows
from sky_core.store.records import TERMINAL, Job, Reach
from sky_core.store.tables import JOBS
from sky_core.store.transactions import Part, reads, writes


class Leases(Part):
    """Who drives which job, and until when."""

    @writes
    def lease_due(
        self, db: sa.Connection, holder: str, seconds: float, limit: int, reach: Reach | None = None
    ) -> list[Job]:
        """Take up to ``limit`` jobs that want to be advanced now and that nobody else holds; only those in reach."""
        now = self._clock()
        free = (JOBS.c.lease_until < now) | (JOBS.c.lease_holder == holder)
        due = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(TERMINAL), JOBS.c.wake_at <= now, free, _in_reach(reach))
        if db.dialect.name == "postgresql":
            due = due.with_for_update(skip_locked=True)
        ids = list(db.execute(due.order_by(JOBS.c.wake_at).limit(limit)).scalars())
        if not ids:
            return []
        db.execute(sa.update(JOBS).where(JOBS.c.id.in_(ids)).values(lease_holder=holder, lease_until=now + seconds))
        return [rows.job(row) for row in db.execute(sa.select(JOBS).where(JOBS.c.id.in_(ids)))]

    @reads
    def has_live(self, db: sa.Connection, reach: Reach) -> bool:
        """Whether a job within reach is not over yet."""
        query = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(TERMINAL), _in_reach(reach)).limit(1)
        return db.execute(query).first() is not None

    @reads
    def left_alone(self, db: sa.Connection, reach: Reach) -> list[Job]:
        """Live jobs of this profile that nobody drives at present and that need another key."""
        forsaken = (JOBS.c.profile == reach.profile) & (JOBS.c.key_id != reach.key_id)
        forsaken &= (JOBS.c.lease_until < self._clock()) & JOBS.c.state.not_in(TERMINAL)
        return [rows.job(row) for row in db.execute(sa.select(JOBS).where(forsaken))]

    @writes
    def renew_lease(self, db: sa.Connection, job_id: str, holder: str, seconds: float) -> bool:
        """Hold on to a job during a long step; False if somebody else has it."""
        mine = (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder)
        return bool(db.execute(sa.update(JOBS).where(mine).values(lease_until=self._clock() + seconds)).rowcount)

    @writes
    def release_lease(self, db: sa.Connection, job_id: str, holder: str) -> None:
        """Let go of a job, so that any driver may take it at once."""
        mine = (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder)
        db.execute(sa.update(JOBS).where(mine).values(lease_holder=None, lease_until=0.0))


def _in_reach(reach: Reach | None) -> sa.ColumnElement[bool]:
    if reach is None:
        return sa.true()
    profile = JOBS.c.profile.is_(None) | (JOBS.c.profile == reach.profile)
    return profile & (JOBS.c.key_id.is_(None) | (JOBS.c.key_id == reach.key_id))
