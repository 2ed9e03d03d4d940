"""Launches are owed until accounted for: what was asked of a cloud, and whether it is known what came of it.

``save_job(launches=…)`` writes a launch down in the transaction of the step that intends it, so before it is made.
"""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads, writes
from sky_core.store.reading import rows
from sky_core.store.records import Launch
from sky_core.store.tables import CLUSTERS, JOBS, LAUNCHES


class Launches(Part):
    """The list of launches."""

    @reads
    def owed_launches(
        self, db: sa.Connection, *, job_id: str | None = None, cloud: str | None = None, profile: str | None = None
    ) -> list[Launch]:
        """Launches not yet settled, the oldest first: all, one job's, one cloud's, or those of a profile's jobs."""
        query = sa.select(LAUNCHES).where(LAUNCHES.c.settled_at.is_(None))
        if job_id is not None:
            query = query.where(LAUNCHES.c.job_id == job_id)
        if cloud is not None:
            query = query.where(LAUNCHES.c.cloud == cloud)
        if profile is not None:
            query = query.where(LAUNCHES.c.job_id.in_(jobs_of(profile)))
        return [rows.launch(row) for row in db.execute(query.order_by(LAUNCHES.c.asked_at, LAUNCHES.c.token))]

    @writes
    def settle_launch(self, db: sa.Connection, token: str, note: str = "") -> bool:
        """Take a launch off the list, with a word on how it was accounted for. False if it is not on it."""
        owed = (LAUNCHES.c.token == token) & LAUNCHES.c.settled_at.is_(None)
        return bool(db.execute(sa.update(LAUNCHES).where(owed).values(settled_at=self._clock(), note=note)).rowcount)

    @reads
    def launch_places(self, db: sa.Connection, profile: str, since: float) -> dict[str, list[str]]:
        """Where a profile's jobs were to be launched since then: regions by cloud, sorted."""
        places = sa.select(CLUSTERS.c.cloud, CLUSTERS.c.region).distinct().order_by(CLUSTERS.c.cloud, CLUSTERS.c.region)
        found = db.execute(places.where(CLUSTERS.c.job_id.in_(jobs_of(profile)), CLUSTERS.c.intended_at >= since))
        regions: dict[str, list[str]] = defaultdict(list)
        for cloud, region in found:
            regions[cloud].append(region)
        return dict(regions)


def jobs_of(profile: str) -> sa.Select[tuple[str]]:
    """Jobs of a profile, and those of an earlier version, which said none."""
    return sa.select(JOBS.c.id).where((JOBS.c.profile == profile) | JOBS.c.profile.is_(None))
