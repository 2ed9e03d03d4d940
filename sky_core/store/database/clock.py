"""The store's own clock: seconds since the epoch as all its processes count them, whoever sets the hosts' clocks.

Leases and wake-ups compare times that different processes wrote at different times. A wall clock that is set back
by minutes would put drivers to sleep for as long, and their machines would halt; one set forward would take jobs
away from drivers that are well. On PostgreSQL the clock is the server's: one for all hosts. On SQLite, which has
one host only, it is the kernel's time since boot, which nobody sets, counted from the wall clock as it was when
the store was first opened after that boot.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from sky_core.store.database.attempt import transact
from sky_core.store.database.database import Database
from sky_core.store.database.patience import Patience
from sky_core.store.database.transactions import upsert
from sky_core.store.records import TERMINAL
from sky_core.store.tables import JOBS, META

KEY = "clock"  # in the table "meta": which boot, and what is to be added to its time


@dataclass(frozen=True)
class StoreClock:
    """The clock of one store. ``offset`` is added to the time since boot; None where the server is asked."""

    offset: float | None

    def now(self, db: sa.Connection) -> float:
        """Seconds since the epoch, in the middle of a transaction."""
        if self.offset is None:
            server = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
            return float(db.execute(sa.select(server)).scalar_one())
        return _since_boot() + self.offset


def store_clock(database: Database, patience: Patience) -> StoreClock:
    """The clock of a store whose tables are there."""
    if not database.is_sqlite:
        return StoreClock(None)
    offset = transact(database, patience, _kept, writes=False)
    return StoreClock(transact(database, patience, _start, writes=True) if offset is None else offset)


def _kept(db: sa.Connection) -> float | None:
    kept = db.execute(sa.select(META.c.value).where(META.c.key == KEY)).scalar_one_or_none()
    boot, offset = json.loads(kept) if kept else (None, 0.0)
    return float(offset) if boot == _boot() else None


def _start(db: sa.Connection) -> float:
    """Begin to count for this boot. No driver has outlived the last one: every job is free, and is looked at."""
    kept = _kept(db)
    if kept is not None:
        return kept  # somebody else was faster
    last = db.execute(sa.select(sa.func.max(JOBS.c.lease_until))).scalar_one() or 0.0
    now = max(time.time(), last)  # a clock that is not yet set at boot does not take the store back in time
    offset = now - _since_boot()
    upsert(db, META, key=KEY, value=json.dumps([_boot(), offset]))
    live = JOBS.c.state.not_in(TERMINAL)
    db.execute(sa.update(JOBS).where(live).values(lease_until=0.0, wake_at=now))
    return offset


def _boot() -> str:
    """What names the time since the kernel started; "" where it does not tell, and the wall clock has to do."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() if sys.platform == "linux" else ""


def _since_boot() -> float:
    """Seconds since boot, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.time()
