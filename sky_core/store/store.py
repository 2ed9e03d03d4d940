"""The store: plans, jobs, clusters, events, logs and what was observed, durable and shared by all processes."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable

from sky_core.store import database
from sky_core.store.jobs import Jobs
from sky_core.store.leases import Leases
from sky_core.store.observed import Observed
from sky_core.store.plans import Plans
from sky_core.store.schema import prepare


class Store(Plans, Jobs, Leases, Observed):
    """Durable state. Safe to share between threads and to carry over a fork; any number may be open.

    All stores of one URL in one process share its few connections, and a thread that finds none free waits.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user@host/database``.
        clock: Wall-clock time in seconds since the epoch.

    Attributes:
        id: What this store's machines are tagged with.

    Raises:
        SpecError, MissingExtra: for a URL that cannot be used.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database.share(url)
        self._clock = clock
        self._release = weakref.finalize(self, database.release, self._database)
        self._release.atexit = False
        self.id = prepare(self._database)

    def close(self) -> None:
        """Give up this store's share in the connections; done by itself when nobody refers to the store any more."""
        self._release()
