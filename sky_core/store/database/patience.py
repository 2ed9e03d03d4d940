"""Waiting for a store that cannot be used at present, and saying so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from sky_core.errors import StoreRefused, StoreTrouble

T = TypeVar("T")

log = logging.getLogger("skyloom.store")

TELL_EVERY_S = 60.0
LONGEST_WAIT_S = 5.0  # between two tries
ENDING_S = 10.0  # how long a call still waits in a process that is to end


class Patience:
    """Tries again in trouble, for ``seconds`` (None: for as long as it takes), or till ``ending`` is set."""

    def __init__(self, seconds: float | None, ending: threading.Event | None = None) -> None:
        self._seconds, self._ending = seconds, ending or threading.Event()
        self._told = -TELL_EVERY_S

    def wait_for(self, work: Callable[[], T]) -> T:
        """The value of ``work``, which is done anew as a whole after each trouble.

        Raises:
            StoreTrouble: what ``work`` raised last when the patience is at an end; at once if the server refuses us,
                unless the patience is endless.
        """
        began = time.monotonic()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._passes),
            wait=tenacity.wait_random_exponential(0.1, LONGEST_WAIT_S),
            stop=self._is_over,
            before_sleep=self._tell,
            reraise=True,
        )
        value = retrying(work)
        if retrying.statistics["attempt_number"] > 1:
            log.info("the store can be used again, after %.1f s", time.monotonic() - began)
        return value

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        waited_s = state.seconds_since_start or 0.0
        if self._ending.is_set() and waited_s >= ENDING_S:
            return True
        return self._seconds is not None and waited_s >= self._seconds

    def _passes(self, error: BaseException) -> bool:
        return isinstance(error, StoreTrouble) and (self._seconds is None or not isinstance(error, StoreRefused))

    def _tell(self, state: tenacity.RetryCallState) -> None:
        if time.monotonic() - self._told < TELL_EVERY_S:
            return  # one word for all threads that wait
        self._told = time.monotonic()
        assert state.outcome is not None
        log.warning("%s; waiting for it", state.outcome.exception())
