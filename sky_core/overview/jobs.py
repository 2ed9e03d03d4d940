"""Jobs as rows: where they run, how far they are, what they have cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.job.bill import Spent, spent_on
from sky_core.measures.scale import Scale
from sky_core.store import Choice, Cluster, JobLine, Listings


@dataclass(frozen=True)
class JobRow:
    """A job with its money."""

    job: JobLine
    spent: Spent

    @property
    def cluster(self) -> Cluster | None:
        """Its newest launch, be it only asked for; None before the first."""
        return self.spent.clusters[-1] if self.spent.clusters else None

    @property
    def place(self) -> str:
        """``cloud/zone`` of that, or its region where zones have no names; "" before the first."""
        at = self.cluster
        return at.place if at else ""

    @property
    def usd_per_hour(self) -> float:
        """What its machines cost now, as far as they may exist."""
        now = time.time()
        return sum(one.usd_per_hour(now) for one in self.spent.clusters)


def job_rows(
    store: Listings,
    scale: Scale,
    choice: Choice,
    *,
    limit: int | None = None,
    skip: int = 0,
    now: float | None = None,
) -> list[JobRow]:
    """The jobs meant, newest first."""
    return with_money(store, scale, store.job_lines(choice, limit=limit, skip=skip), now)


def with_money(store: Listings, scale: Scale, lines: Sequence[JobLine], now: float | None = None) -> list[JobRow]:
    """What these jobs have cost, and where they are."""
    spent = spent_on(store, scale, [line.id for line in lines], now)
    return [JobRow(line, spent[line.id]) for line in lines]
