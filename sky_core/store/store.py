"""The store: plans, jobs, clusters, events, logs and what was observed, durable and shared by all processes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from sky_core.store.database import database
from sky_core.store.database.clock import store_clock
from sky_core.store.database.patience import Patience
from sky_core.store.database.schema import prepare
from sky_core.store.database.transactions import reads
from sky_core.store.interest import Interests
from sky_core.store.jobs import Jobs
from sky_core.store.kept import Kept
from sky_core.store.launches import Launches
from sky_core.store.leases import Leases
from sky_core.store.observed import Observed
from sky_core.store.plans import Plans
from sky_core.store.reading.glimpse import json_member
from sky_core.store.reading.listing import Listings, Values
from sky_core.store.reading.news import Newspaper

PATIENCE_S = 60.0


class Store(Plans, Jobs, Kept, Listings, Newspaper, Leases, Launches, Interests, Observed):
    """Durable state. Safe to share between threads and to carry over a fork; any number may be open.

    All stores of one URL in one process share its few connections, and a thread that finds none free waits.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/database``.
        patience_s: How long each call waits for a store that is locked, full, read-only or away; None: for ever.
        ending: Set when this process is to end: no call waits for long then, however patient.
        clock: For tests: the time, in seconds since the epoch, in place of the host's clock and the store's own.

    Attributes:
        id: What this store's machines are tagged with.

    Raises:
        SpecError, MissingExtra: for a URL that cannot be used.
        StoreTrouble: if the store cannot be used, or made, within the patience. So does every method.
        StoreTooNew, StoreDamaged: if waiting does not help.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] | None = None,
        *,
        patience_s: float | None = PATIENCE_S,
        ending: threading.Event | None = None,
    ) -> None:
        self._database = database.share(url)
        self._patience = Patience(patience_s, ending)
        self._clock = clock or time.time
        self._release = weakref.finalize(self, database.release, self._database)
        self._release.atexit = False
        self.id = prepare(self._database, self._patience)
        steady = store_clock(self._database, self._patience)
        self._now = steady.now if clock is None else lambda db: clock()

    @reads
    def now(self, db: sa.Connection) -> float:
        """The store's own clock: seconds since the epoch, the same for all its processes, never set back or forth.

        What one process writes for another to wait for (leases, wake-ups, interest) is told by this clock; times
        that people read are told by the wall clock.
        """
        return self._now(db)

    @reads
    def _ask(self, db: sa.Connection, sql: str, values: Values) -> Sequence[Sequence[Any]]:
        return db.execute(sa.text(sql), values).all()

    def _member(self, column: str, *path: str) -> str:
        if self._database.is_sqlite:
            return json_member(column, path)
        *outer, last = path
        within = "".join(f" -> '{name}'" for name in outer)
        return f"(CAST({column} AS json){within} ->> '{last}')"

    def close(self) -> None:
        """Give up this store's share in the connections; done by itself when nobody refers to the store any more."""
        self._release()
