"""Leases: one driver advances a job at a time."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads, writes
from sky_core.store.reading import rows
from sky_core.store.records import TERMINAL, Job, Lease, Reach
from sky_core.store.tables import JOBS


class LeaseLost(RuntimeError):
    """Another driver has taken the job over; what this one wanted to write was not written."""


class PlanChanged(RuntimeError):
    """Somebody else has replaced the plan meanwhile; what was decided on the older one was not written."""


class Leases(Part):
    """Who drives which job, and until when."""

    @writes
    def lease_due(
        self,
        db: sa.Connection,
        holder: str,
        seconds: float,
        limit: int,
        reach: Reach | None = None,
        *,
        without: Collection[str] = (),
    ) -> list[Job]:
        """Take up to ``limit`` jobs that want to be advanced now and that nobody else holds; only those in reach, and
        none of those ids.

        Taking a job from another holder, whose lease ran out, ends all that he might still write for it.
        """
        now = self._now(db)
        free = (JOBS.c.lease_until < now) | (JOBS.c.lease_holder == holder)
        due = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(TERMINAL), JOBS.c.wake_at <= now, free, in_reach(reach))
        if db.dialect.name == "postgresql":
            due = due.with_for_update(skip_locked=True)
        if without:
            due = due.where(JOBS.c.id.not_in(without))
        ids = list(db.execute(due.order_by(JOBS.c.wake_at).limit(limit)).scalars())
        if not ids:
            return []
        taken = JOBS.c.lease_epoch + sa.case((JOBS.c.lease_holder != holder, 1), else_=0)  # unchanged if nobody's
        values = {"lease_holder": holder, "lease_until": now + seconds, "lease_epoch": taken}
        db.execute(sa.update(JOBS).where(JOBS.c.id.in_(ids)).values(**values))
        return [rows.job(row) for row in db.execute(sa.select(JOBS).where(JOBS.c.id.in_(ids)))]

    @reads
    def has_live(self, db: sa.Connection, reach: Reach) -> bool:
        """Whether a job within reach is not over yet."""
        query = sa.select(JOBS.c.id).where(JOBS.c.state.not_in(TERMINAL), in_reach(reach)).limit(1)
        return db.execute(query).first() is not None

    @reads
    def left_alone(self, db: sa.Connection, reach: Reach) -> list[Job]:
        """Live jobs of this profile that nobody drives at present and that need another key."""
        forsaken = (JOBS.c.profile == reach.profile) & (JOBS.c.key_id != reach.key_id)
        forsaken &= (JOBS.c.lease_until < self._now(db)) & JOBS.c.state.not_in(TERMINAL)
        return [rows.job(row) for row in db.execute(sa.select(JOBS).where(forsaken))]

    @reads
    def driven(self, db: sa.Connection) -> set[str]:
        """Ids of the live jobs that somebody drives at present."""
        held_now = (JOBS.c.lease_until >= self._now(db)) & JOBS.c.state.not_in(TERMINAL)
        return set(db.execute(sa.select(JOBS.c.id).where(held_now)).scalars())

    @writes
    def renew_lease(self, db: sa.Connection, job_id: str, holder: str, seconds: float) -> bool:
        """Hold on to a job during a long step; False if somebody else has it."""
        mine = (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder)
        return bool(db.execute(sa.update(JOBS).where(mine).values(lease_until=self._now(db) + seconds)).rowcount)

    @writes
    def release_lease(self, db: sa.Connection, job_id: str, holder: str) -> None:
        """Let go of a job, so that any driver may take it at once; what this one still writes is refused."""
        _let_go(db, (JOBS.c.id == job_id) & (JOBS.c.lease_holder == holder))

    @writes
    def release_leases(self, db: sa.Connection, holder: str) -> None:
        """Let go of all jobs of a driver that leaves."""
        _let_go(db, (JOBS.c.lease_holder == holder) & JOBS.c.state.not_in(TERMINAL))


def _let_go(db: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    values = {"lease_holder": None, "lease_until": 0.0, "lease_epoch": JOBS.c.lease_epoch + 1}
    db.execute(sa.update(JOBS).where(which).values(**values))


def held(lease: Lease) -> sa.ColumnElement[bool]:
    """The condition that a row of ``JOBS`` is that lease's, and the lease still its holder's."""
    same = (JOBS.c.lease_holder == lease.holder) & (JOBS.c.lease_epoch == lease.epoch)
    return (JOBS.c.id == lease.job_id) & same


def insist(db: sa.Connection, lease: Lease) -> None:
    """Make sure that the lease is held, and stays so until the end of the transaction.

    Raises:
        LeaseLost: if it is not.
    """
    if db.execute(sa.select(JOBS.c.id).where(held(lease)).with_for_update()).one_or_none() is None:
        raise LeaseLost(lease.job_id)


def in_reach(reach: Reach | None) -> sa.ColumnElement[bool]:
    """The condition that a row of ``JOBS`` is one that such a driver may have."""
    if reach is None:
        return sa.true()
    profile = JOBS.c.profile.is_(None) | (JOBS.c.profile == reach.profile)
    return profile & (JOBS.c.key_id.is_(None) | (JOBS.c.key_id == reach.key_id))
