"""Futures of tasks that may not have been planned yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.futures import PrefectConcurrentFuture


class SkyFuture(PrefectConcurrentFuture[Any]):
    """A future of a task under :class:`SkyTaskRunner`.

    Waiting in any way on an unfinished one is the demand that closes the planning window.
    """

    demand: Callable[[], None]

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the task, planning and starting what has been submitted so far."""
        self.demand()
        super().wait(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """The task's value."""
        self.demand()
        return super().result(timeout, raise_on_failure)

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` once the task is done."""
        self.demand()
        super().add_done_callback(fn)

    def _add_prefect_done_callback(self, fn: Callable[[Any], None]) -> None:
        # as_completed() and wait(timeout=) come through here
        self.demand()
        super()._add_prefect_done_callback(fn)
