"""A gate that lets a process fork only while none of its threads is inside SQLite.

Airflow forks its task processes, and so does ``multiprocessing`` where it is told to. What a child inherits of
SQLite is poison: file descriptors whose locks stayed with the parent, and tables in memory that say the locks are
held. ``subprocess`` needs no care: what it starts inherits no memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Threads go in and out; a fork closes the gate, waits until all are out, and opens it again afterwards."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._within = 0
        self._forks = 0  # under way: two threads may fork at once

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be inside for the length of the block. Not reentrant."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forks)
            self._within += 1
        try:
            yield
        finally:
            with self._changed:
                self._within -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until all are out."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._within)

    def open(self) -> None:
        """In the parent, once it has forked."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def renew(self) -> None:
        """In the child, where no other thread exists: whoever held the lock is gone."""
        self.__init__()  # type: ignore[misc]
