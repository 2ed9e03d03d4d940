"""Work that is done now and then beside the job, never twice at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """One piece of work and when it is due; not at all before :meth:`begin`.

    Args:
        name: Of its thread.
        work: Does it once; returns after how many seconds it is due again.
    """

    def __init__(self, name: str, work: Callable[[], float]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future[None] | None = None
        self._next = float("inf")

    def begin(self, after_s: float) -> None:
        """It is due in so many seconds."""
        self._next = time.monotonic() + after_s

    def tick(self) -> None:
        """Start it if it is due and does not run."""
        if time.monotonic() < self._next or not (self._running is None or self._running.done()):
            return
        self._next = float("inf")
        self._running = self._pool.submit(self._run)

    def _run(self) -> None:
        after_s = self._work()
        self._next = time.monotonic() + after_s

    def wait(self) -> None:
        """Until it does not run. Raises what it has raised."""
        if self._running is not None:
            self._running.result()

    def close(self) -> None:
        """The same, for good; what it has raised is its own affair."""
        self._pool.shutdown()
