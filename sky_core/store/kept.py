"""Machines that are kept when their job is over: found by name, handed on once, or told to end.

No lease guards them, since their job has none any more. Each change is one statement that says in which state it
expects them: of two that want the same machines, one has them.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import sqlalchemy as sa

from sky_core.events import Terminated
from sky_core.store.database.transactions import Part, reads, writes
from sky_core.store.launches import jobs_of
from sky_core.store.leases import in_reach
from sky_core.store.reading import rows
from sky_core.store.records import Cluster, Observation, Reach
from sky_core.store.tables import CLUSTERS, EVENTS, JOBS, LAUNCHES, OBSERVATIONS


class KeptGone(RuntimeError):
    """Somebody else has taken the machines, or their end is ordered; what was to be written was not."""


class Kept(Part):
    """Clusters in the state ``kept``."""

    @reads
    def cluster(self, db: sa.Connection, token: str) -> Cluster | None:
        """The cluster of that token, whatever its state."""
        row = db.execute(sa.select(CLUSTERS).where(CLUSTERS.c.token == token)).one_or_none()
        return None if row is None else rows.cluster(row)

    @reads
    def to_be_had(self, db: sa.Connection, name: str, reach: Reach) -> list[Cluster]:
        """What is kept under that name for a job within reach, those that stay longest first."""
        query = sa.select(CLUSTERS).join(JOBS, JOBS.c.id == CLUSTERS.c.job_id).where(in_reach(reach))
        query = query.where(CLUSTERS.c.kept_as == name, _for_the_taking(self._now(db)))
        return [rows.cluster(row) for row in db.execute(query.order_by(CLUSTERS.c.kept_until.desc(), CLUSTERS.c.token))]

    @reads
    def takers(self, db: sa.Connection, name: str, reach: Reach) -> list[str]:
        """The jobs that run on machines which a job within reach has kept under that name."""
        theirs, own = CLUSTERS, CLUSTERS.alias()
        same = own.c.launched_as == sa.func.coalesce(theirs.c.launched_as, theirs.c.token)
        query = sa.select(own.c.job_id).distinct().join_from(theirs, own, same)
        query = query.join(JOBS, JOBS.c.id == theirs.c.job_id).where(in_reach(reach))
        taken = (theirs.c.kept_as == name) & (theirs.c.outcome == "taken") & (own.c.state == "launched")
        return list(db.execute(query.where(taken).order_by(own.c.job_id)).scalars())

    @reads
    def kept_of(self, db: sa.Connection, profile: str) -> list[Cluster]:
        """All that is kept of a profile's jobs, whether its end is ordered or not."""
        query = sa.select(CLUSTERS).where(_kept_of(profile))
        return [rows.cluster(row) for row in db.execute(query.order_by(CLUSTERS.c.kept_until, CLUSTERS.c.token))]

    @writes
    def keep_no_longer(self, db: sa.Connection, name: str, profile: str) -> list[Cluster]:
        """Let what is kept under that name of a profile's jobs be ended now; what that is."""
        now = self._now(db)
        named = (CLUSTERS.c.kept_as == name) & _kept_of(profile)
        late = named & (CLUSTERS.c.kept_until > now)
        db.execute(sa.update(CLUSTERS).where(late).values(kept_until=now))
        return [rows.cluster(row) for row in db.execute(sa.select(CLUSTERS).where(named))]

    @writes
    def order_end(self, db: sa.Connection, token: str, outcome: str, at: float) -> Cluster | None:
        """Write down that kept machines are told to end, before they are; None if somebody has taken them."""
        still = (CLUSTERS.c.token == token) & (CLUSTERS.c.state == "kept")
        fresh = still & CLUSTERS.c.stopped_at.is_(None)
        db.execute(sa.update(CLUSTERS).where(fresh).values(stopped_at=at, outcome=outcome))
        row = db.execute(sa.select(CLUSTERS).where(still)).one_or_none()
        return None if row is None else rows.cluster(row)

    @writes
    def note_end(self, db: sa.Connection, ended: Cluster, observation: Observation | None) -> bool:
        """Write down that kept machines are gone, with all that is to be known of it; False if it was before."""
        still = (CLUSTERS.c.token == ended.token) & (CLUSTERS.c.state == "kept")
        values = {name: getattr(ended, name) for name in ("state", "ended_at", "stopped_at", "outcome")}
        # The job's row first, as whoever writes its events does.
        db.execute(sa.update(JOBS).where(JOBS.c.id == ended.job_id).values(updated_at=self._clock()))
        if not db.execute(sa.update(CLUSTERS).where(still).values(**values)).rowcount:
            return False
        owed = (LAUNCHES.c.token == ended.token) & LAUNCHES.c.settled_at.is_(None)
        db.execute(sa.update(LAUNCHES).where(owed).values(settled_at=self._clock(), note=ended.outcome))
        if observation is not None:
            db.execute(sa.insert(OBSERVATIONS).values(**asdict(observation)))
        told = Terminated(attempt=ended.attempt, outcome=ended.outcome)
        event = {"job_id": ended.job_id, "at": self._clock(), "kind": told.kind, "data": json.dumps(told.data())}
        db.execute(sa.insert(EVENTS).values(**event))
        return True


def hand_over(db: sa.Connection, taken: Cluster, now: float) -> None:
    """End what a cluster was to the job that kept it; ``now`` is the store's own.

    Raises:
        KeptGone: if it is not for the taking any more.
    """
    still = (CLUSTERS.c.token == taken.token) & _for_the_taking(now)
    values = {name: getattr(taken, name) for name in ("state", "ended_at", "stopped_at", "outcome")}
    if not db.execute(sa.update(CLUSTERS).where(still).values(**values)).rowcount:
        raise KeptGone(taken.token)


def _kept_of(profile: str) -> sa.ColumnElement[bool]:
    return (CLUSTERS.c.state == "kept") & CLUSTERS.c.job_id.in_(jobs_of(profile))


def _for_the_taking(now: float) -> sa.ColumnElement[bool]:
    return (CLUSTERS.c.state == "kept") & CLUSTERS.c.stopped_at.is_(None) & (CLUSTERS.c.kept_until > now)
