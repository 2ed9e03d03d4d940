"""Who wants a job: whoever waits for it says so again and again, and is asked when he has fallen silent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads, refuse_odd, upsert, writes
from sky_core.store.reading import rows
from sky_core.store.records import Interest
from sky_core.store.tables import INTEREST


class Interests(Part):
    """The interest that flows, triggers and people take in jobs."""

    @writes
    def show_interest(self, db: sa.Connection, job_id: str, who: str, how: Mapping[str, Any]) -> None:
        """Say that ``who`` wants the job as of now; ``how`` tells how he can be asked later, JSON."""
        refuse_odd(who=who)
        upsert(db, INTEREST, job_id=job_id, who=who, how=json.dumps(dict(how)), seen_at=self._now(db))

    @reads
    def interest_of(self, db: sa.Connection, job_id: str) -> list[Interest]:
        """Those who said that they want the job and did not take it back, the latest first."""
        query = sa.select(INTEREST).where(INTEREST.c.job_id == job_id)
        return [rows.interest(row) for row in db.execute(query.order_by(INTEREST.c.seen_at.desc(), INTEREST.c.who))]

    @writes
    def withdraw_interest(self, db: sa.Connection, job_id: str, who: str) -> None:
        """Say that ``who`` does not want the job any more (it is over, or somebody else asks from now on)."""
        db.execute(sa.delete(INTEREST).where((INTEREST.c.job_id == job_id) & (INTEREST.c.who == who)))
