"""Futures of tasks that may not have been planned yet, and whose values may lie in a cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect.futures import PrefectConcurrentFuture, PrefectFutureList

from sky_core.broker.calls import Reference


class SkyFuture(PrefectConcurrentFuture[Any]):
    """A future of a task under :class:`SkyTaskRunner`.

    Waiting in any way on an unfinished one is the demand that closes the planning window. A value that stayed in
    a cloud is fetched when, and only when, :meth:`result` asks for it.
    """

    demand: Callable[[], None]
    fetch: Callable[[Reference], Any]

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the task, planning and starting what has been submitted so far."""
        self.demand()
        super().wait(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """The task's value, fetched from its cloud if it stayed there."""
        self.demand()
        value = super().result(timeout, raise_on_failure)
        return self.fetch(value) if isinstance(value, Reference) else value

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call ``fn`` once the task is done."""
        self.demand()
        super().add_done_callback(fn)

    def _add_prefect_done_callback(self, fn: Callable[[Any], None]) -> None:
        # as_completed() and wait(timeout=) come through here
        self.demand()
        super()._add_prefect_done_callback(fn)


def plain_lists(value: Any) -> Any:
    """Resolved futures keep the type of their list, which a machine without Prefect could not unpickle."""
    return list(value) if type(value) is PrefectFutureList else value
