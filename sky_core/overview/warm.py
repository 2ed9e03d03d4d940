"""Machines that are kept for the next job, with what they cost meanwhile."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sky_core.job.bill import idle_usd
from sky_core.measures.scale import Scale
from sky_core.store import Cluster, Listings


@dataclass(frozen=True)
class KeptRow:
    """What is kept of one job.

    Attributes:
        task: The name of the job's task.
        idle_usd: What it has cost since it was kept.
    """

    cluster: Cluster
    task: str
    idle_usd: float

    @property
    def usd_per_hour(self) -> float:
        """For all machines; nothing once they have ended themselves."""
        return self.cluster.usd_per_hour(time.time())

    @property
    def gone(self) -> bool:
        """Whether it has ended itself by now, though it is not on record."""
        return time.time() >= self.cluster.gone_by

    @property
    def ending(self) -> bool:
        """Whether its end is ordered, or due: where no driver is, it ends itself."""
        return self.cluster.stopped_at is not None or time.time() > (self.cluster.kept_until or 0.0)


def kept_rows(store: Listings, scale: Scale) -> list[KeptRow]:
    """What is kept in a store, that which ends first first."""
    kept = store.kept()
    tasks = {name.id: name.task for name in store.job_names()} if kept else {}
    return [KeptRow(one, tasks.get(one.job_id, ""), idle_usd(one, scale)) for one in kept]
