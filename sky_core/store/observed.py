"""What was observed: what clouds let us have, and how long tasks took."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from sky_core.store.database.transactions import Part, reads, writes
from sky_core.store.reading import rows
from sky_core.store.records import Observation, Run
from sky_core.store.tables import OBSERVATIONS, RUNS


class Observed(Part):
    """The raw material of the tracker and of the estimates."""

    @writes
    def observe(self, db: sa.Connection, observation: Observation) -> None:
        """Keep an observation of what a cloud let us have."""
        db.execute(sa.insert(OBSERVATIONS).values(**asdict(observation)))

    @reads
    def observations(self, db: sa.Connection, since: float = 0.0) -> list[Observation]:
        """Observations made at or after ``since``, oldest first."""
        query = sa.select(OBSERVATIONS).where(OBSERVATIONS.c.at >= since)
        return [rows.observation(row) for row in db.execute(query.order_by(OBSERVATIONS.c.at, OBSERVATIONS.c.id))]

    @reads
    def runs(self, db: sa.Connection, pipeline: str, task: str | None = None) -> list[Run]:
        """What the tasks of a pipeline took, oldest first."""
        query = sa.select(RUNS).where(RUNS.c.pipeline == pipeline)
        if task is not None:
            query = query.where(RUNS.c.task == task)
        return [rows.run(row) for row in db.execute(query.order_by(RUNS.c.at, RUNS.c.id))]
