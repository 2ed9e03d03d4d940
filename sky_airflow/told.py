"""How much of a job's events and log Airflow's task log has by now, so that the next triggerer goes on from there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sky_core.broker.interest import Waiter
from sky_core.errors import StoreTrouble
from sky_core.store import Store

KEEP_S = 10.0  # after a kill -9 as much is told again
TOLD = "told"  # in what the one who waits leaves beside his interest in the job


@dataclass
class Told:
    """What has been told, kept beside the interest of the try that waits.

    Attributes:
        event: Id of the last event.
        offset: Bytes of the log, whole lines.
    """

    store: Store
    waiter: Waiter
    job_id: str
    event: int = 0
    offset: int = 0
    _read: int = 0
    _kept: tuple[int, int] = (0, 0)
    _at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, store: Store, waiter: Waiter, job_id: str) -> Told:
        """What an earlier triggerer has told of the job to the same try."""
        found = [one.how.get(TOLD) for one in store.interest_of(job_id) if one.who == waiter.who]
        event, offset = next((told for told in found if told), (0, 0))
        waiter.how = {**waiter.how, TOLD: [event, offset]}
        return cls(store, waiter, job_id, event, offset, offset, (event, offset))

    def add(self, events: Sequence[Any], data: bytes) -> None:
        """These have been told; of the data the whole lines."""
        self.event = events[-1].id if events else self.event
        if b"\n" in data:
            self.offset = self._read + data.rindex(b"\n") + 1
        self._read += len(data)

    def keep(self, *, at_once: bool = False) -> None:
        """Write it down if there is more than before, every few seconds at most."""
        now = (self.event, self.offset)
        if now == self._kept or not (at_once or time.monotonic() - self._at > KEEP_S):
            return
        self.waiter.how = {**self.waiter.how, TOLD: list(now)}
        with suppress(StoreTrouble):
            self.store.show_interest(self.job_id, self.waiter.who, self.waiter.how)
            self._kept, self._at = now, time.monotonic()
