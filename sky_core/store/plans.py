"""Plans: one per key, with versions as the rest of the DAG is planned anew. And pickled calls, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import sqlalchemy as sa
from pydantic_core import to_json

from sky_core.errors import TooLarge
from sky_core.store.database.transactions import Part, insert_if_absent, reads, refuse_odd, writes
from sky_core.store.records import StoredPlan
from sky_core.store.tables import PAYLOADS, PLANNING, PLANS

LARGEST_PAYLOAD = 500_000_000
"""Bytes. PostgreSQL takes 1 GiB for a value, and gets it with two characters a byte; SQLite takes 1e9 bytes."""


USED_S = 3600.0  # for which it is not written down again that a payload was handed in
AT_ONCE = 500  # payloads taken out by one statement


class Plans(Part):
    """The plans of a store, and the payloads that their tasks carry."""

    @writes
    def create_plan(self, db: sa.Connection, key: str, pipeline: str, plan: str) -> StoredPlan:
        """Keep the first plan of ``key``; whoever comes second gets the newest there is."""
        refuse_odd(plan_key=key)
        insert_if_absent(db, PLANS, key=key, version=1, created_at=self._clock(), pipeline=pipeline, plan=plan)
        found = _newest(db, key)
        assert found is not None
        return found

    @reads
    def plan(self, db: sa.Connection, key: str) -> StoredPlan | None:
        """The newest version of that key's plan, or None."""
        return _newest(db, key)

    @reads
    def plan_keys(self, db: sa.Connection, prefix: str = "") -> list[str]:
        """The keys of all plans that begin with ``prefix``, in the order in which they were first made."""
        begins = sa.func.substr(PLANS.c.key, 1, len(prefix)) == prefix  # LIKE has wildcards, and ignores case on SQLite
        query = sa.select(PLANS.c.key).where(PLANS.c.version == 1, begins)
        return list(db.execute(query.order_by(PLANS.c.created_at, PLANS.c.key)).scalars())

    @reads
    def plan_keys_of(self, db: sa.Connection, pipeline: str, prefix: str = "", limit: int = 10) -> list[str]:
        """The keys, beginning with ``prefix``, of the last plans of the pipelines of that name, newest first."""
        named = b'{"name":' + to_json(pipeline) + b","  # what pipelines begin with when they are written down
        conditions = [
            sa.func.substr(column, 1, len(begin)) == begin
            for column, begin in ((PLANS.c.pipeline, named.decode()), (PLANS.c.key, prefix))
        ]
        query = sa.select(PLANS.c.key).where(PLANS.c.version == 1, *conditions)
        return list(db.execute(query.order_by(PLANS.c.created_at.desc(), PLANS.c.key).limit(limit)).scalars())

    @reads
    def plan_versions(self, db: sa.Connection, key: str) -> list[str]:
        """All plans of that key, oldest first."""
        query = sa.select(PLANS.c.plan).where(PLANS.c.key == key).order_by(PLANS.c.version)
        return list(db.execute(query).scalars())

    @writes
    def take_planning(self, db: sa.Connection, key: str, holder: str, seconds: float) -> bool:
        """Take, or keep, the making of that key's plan for so long; False while somebody else has it."""
        refuse_odd(plan_key=key)
        until = self._now(db) + seconds
        if insert_if_absent(db, PLANNING, key=key, holder=holder, until=until):
            return True
        free = (PLANNING.c.holder == holder) | (PLANNING.c.until < self._now(db))
        taken = sa.update(PLANNING).where(PLANNING.c.key == key, free).values(holder=holder, until=until)
        return bool(db.execute(taken).rowcount)

    @writes
    def end_planning(self, db: sa.Connection, key: str, holder: str) -> None:
        """Let the next one make that key's plan, or find it made."""
        db.execute(sa.delete(PLANNING).where(PLANNING.c.key == key, PLANNING.c.holder == holder))

    @writes
    def replace_plan(self, db: sa.Connection, key: str, version: int, pipeline: str, plan: str) -> bool:
        """Add ``version + 1``; False if somebody else has added it meanwhile (read theirs and think again)."""
        now = self._clock()
        return insert_if_absent(db, PLANS, key=key, version=version + 1, created_at=now, pipeline=pipeline, plan=plan)

    @writes
    def put_payload(self, db: sa.Connection, data: bytes) -> str:
        """Keep ``data``; returns its SHA-256.

        Raises:
            TooLarge: if it is more than :data:`LARGEST_PAYLOAD` bytes.
        """
        if len(data) > LARGEST_PAYLOAD:
            raise TooLarge(
                f"a call with its arguments has {len(data):,} bytes, the store takes {LARGEST_PAYLOAD:,}",
                cure="hand large data over as an input artifact, or let the task load it",
            )
        sha, now = hashlib.sha256(data).hexdigest(), self._clock()
        same = PAYLOADS.c.sha256 == sha
        # Locked, so that it is not forgotten between the look and the word that it is used.
        known = db.execute(sa.select(PAYLOADS.c.used_at).where(same).with_for_update()).one_or_none()
        if known is None:
            insert_if_absent(db, PAYLOADS, sha256=sha, data=data, used_at=now)
        elif known.used_at is None or known.used_at < now - USED_S:
            db.execute(sa.update(PAYLOADS).where(same).values(used_at=now))
        return sha

    @reads
    def payloads_before(self, db: sa.Connection, before: float) -> set[str]:
        """SHA-256 of what was handed in last before that time."""
        return set(db.execute(sa.select(PAYLOADS.c.sha256).where(PAYLOADS.c.used_at < before)).scalars())

    @writes
    def forget_payloads(self, db: sa.Connection, shas: Collection[str], before: float) -> int:
        """Take these out unless they were handed in again since that time; how many went."""
        wanted, gone = sorted(shas), 0
        for at in range(0, len(wanted), AT_ONCE):
            stale = PAYLOADS.c.sha256.in_(wanted[at : at + AT_ONCE]) & (PAYLOADS.c.used_at < before)
            gone += db.execute(sa.delete(PAYLOADS).where(stale)).rowcount
        return gone

    @reads
    def payload(self, db: sa.Connection, sha: str) -> bytes:
        """The data kept under that SHA-256."""
        data: bytes = db.execute(sa.select(PAYLOADS.c.data).where(PAYLOADS.c.sha256 == sha)).scalar_one()
        return data


def _newest(db: sa.Connection, key: str) -> StoredPlan | None:
    query = sa.select(PLANS).where(PLANS.c.key == key).order_by(PLANS.c.version.desc()).limit(1)
    row = db.execute(query).one_or_none()
    return None if row is None else StoredPlan(row.version, row.pipeline, row.plan)
