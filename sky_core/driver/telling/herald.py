"""What a driver has written down, told to whoever is to know. Best effort: a step never waits, and never fails by it.

A driver that dies between writing something down and telling it does not tell it; what counts is in the store.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress

from sky_core.config import Settings
from sky_core.driver.telling.told import Listener, Told
from sky_core.driver.telling.traces import tracer
from sky_core.driver.telling.webhooks import caller
from sky_core.store import Store

log = logging.getLogger(__name__)

MOST_WAITING = 10_000  # things to be told; what comes on top is dropped
GRACE_S = 5.0  # for what is still to be told when the driver ends


class Herald:
    """Hands on what it is told, one after the other, on a thread of its own."""

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        self._listeners = listeners
        self._waiting: queue.Queue[Told | None] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings, store: Store) -> Herald:
        """The one that the settings and the environment ask for."""
        found = (caller(settings.webhooks), tracer(store))
        return cls([listener for listener in found if listener is not None])

    def tell(self, told: Told) -> None:
        """Hand it on, some time soon."""
        if not self._listeners or not told.events:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="herald", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(told)
        except queue.Full:
            log.warning("%s: not told, too much is waiting to be", told.job.id)

    def close(self) -> None:
        """Tell what is left, as far as that takes no longer than a moment."""
        if self._thread is not None:
            with suppress(queue.Full):
                self._waiting.put(None, timeout=GRACE_S)
            self._thread.join(GRACE_S)

    def _run(self) -> None:
        while (told := self._waiting.get()) is not None:
            for listener in self._listeners:
                try:
                    listener(told)
                except Exception:  # whoever listens is not to disturb the others
                    log.exception("%s: cannot be told", told.job.id)
