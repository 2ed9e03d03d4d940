"""All of a store at one moment: ``skyloom top`` is a view of this and of nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sky_core.job.cost.charges import charges
from sky_core.measures.scale import Scale
from sky_core.overview.jobs import JobRow, with_money
from sky_core.store import Choice, Cluster, JobState, Listings
from sky_core.store.records import LIVE, STATES


@dataclass(frozen=True)
class Glance:
    """A store at one moment.

    Attributes:
        at: When, seconds since the epoch.
        states: How many jobs are in each state, in the order of a job's life; without those that have none.
        live: Jobs that are not over, those whose machines cost most first.
        usd_today: Spent since midnight UTC.
        kept: Machines that are kept for the next job, as far as they may exist.
        usd_per_hour: What all machines cost now.
    """

    at: float
    states: Mapping[JobState, int]
    live: tuple[JobRow, ...]
    usd_today: float
    kept: tuple[Cluster, ...] = ()

    @property
    def kept_usd_per_hour(self) -> float:
        """What those cost now."""
        return sum(one.usd_per_hour(self.at) for one in self.kept)

    @property
    def kept_as(self) -> str:
        """Under which names they are kept."""
        return ", ".join(dict.fromkeys(one.kept_as or "" for one in self.kept))

    @property
    def usd_per_hour(self) -> float:
        """What the machines of all live jobs cost now, and those that are kept."""
        return sum(row.usd_per_hour for row in self.live) + self.kept_usd_per_hour


def look(store: Listings, scale: Scale, now: float | None = None) -> Glance:
    """How a store is now."""
    moment = time.time() if now is None else now
    counted = store.count_jobs()
    live = with_money(store, scale, store.job_lines(Choice(states=LIVE)), moment)
    today = datetime.fromtimestamp(moment, UTC).date().isoformat()
    return Glance(
        at=moment,
        states={state: counted[state] for state in STATES if state in counted},
        live=tuple(sorted(live, key=lambda row: (-row.usd_per_hour, -row.job.created_at, row.job.id))),
        usd_today=sum(one.usd for one in charges(store, scale, moment, first=today)),
        kept=tuple(one for one in store.kept() if moment < one.gone_by),
    )
