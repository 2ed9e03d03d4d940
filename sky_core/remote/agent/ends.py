"""How a step of a job ends before its time."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple


class Interrupt(NamedTuple):
    """Why a job must end before its time, and how long its command may take to do so."""

    why: str  # "eviction", "cancelled", "moved" or "orphaned"
    grace_s: float


class Interrupted(Exception):
    """Raised in the step that an interrupt meets."""


class Failed(Exception):
    """The job has failed; ``exit_code`` is None where that is not the user's doing."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


Events = queue.Queue["Interrupt | Future[Any]"]


def carry_out(step: Callable[[], Any], done: Future[Any], events: Events) -> None:
    """Run a step and leave what it returns or raises in ``done``, which is an event then."""
    try:
        done.set_result(step())
    except BaseException as error:  # noqa: BLE001 - raised again where the step is waited for
        done.set_exception(error)
    events.put(done)
