"""Telling the silence of one machine from that of the whole network.

A machine that does not answer counts as silent only as long as something else does: another machine, or its cloud.
When nothing answers, the trouble is more likely here than everywhere else, and nothing may be ended for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_LOOK_S = 60.0  # what one look can add: this process, or its host, may have slept between two of them


@dataclass(frozen=True)
class Silence:
    """How long something has not answered, by a clock that cannot step.

    Attributes:
        seconds: Time for which it alone was silent.
        looks: How often it was asked in vain.
        alone: Whether anything else has answered since it was last asked.
        was_out: Whether at an earlier look nothing had answered.
    """

    last: float
    seconds: float = 0.0
    looks: int = 1
    alone: bool = True
    was_out: bool = False


class Hearing:
    """Who has answered lately. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._heard = float("-inf")
        self._silences: dict[str, Silence] = {}

    def heard(self) -> None:
        """Something has answered: there is a network."""
        with self._lock:
            self._heard = self._clock()

    def answered(self, name: str) -> Silence | None:
        """``name`` has answered; returns the silence that this ends, if there was one."""
        with self._lock:
            self._heard = self._clock()
            return self._silences.pop(name, None)

    def unanswered(self, name: str) -> Silence:
        """``name`` was asked once more, in vain."""
        with self._lock:
            now, before = self._clock(), self._silences.get(name)
            if before is None:
                silence = Silence(now)
            else:
                alone = self._heard > before.last
                passed = min(now - before.last, LONGEST_LOOK_S) if alone else 0.0
                was_out = before.was_out or not before.alone
                silence = Silence(now, before.seconds + passed, before.looks + 1, alone, was_out)
            self._silences[name] = silence
            return silence

    def forget(self, name: str) -> None:
        """``name`` is not asked any more."""
        with self._lock:
            self._silences.pop(name, None)

    def is_silent(self, name: str) -> bool:
        """Whether ``name`` did not answer when it was last asked."""
        return name in self._silences
