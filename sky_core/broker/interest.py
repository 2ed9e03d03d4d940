"""Who wants a job: whoever waits for it says so in the store, again and again, and how he can be asked later.

A job that nobody waits for is looked into by its driver (:mod:`sky_core.driver.wanted`).
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sky_core.config import Settings
from sky_core.errors import StoreTrouble
from sky_core.store import Store

RENEW_S = 30.0
UNTIL_SILENT = "until_silent"  # in ``how``: without him it is of no use to anybody, and nobody is to be asked
TO_THE_END = "to_the_end"  # in ``how``: the job is wanted until it is over, and nobody is to be asked


@dataclass
class Waiter:
    """One who waits for jobs.

    Attributes:
        who: Names him, unique among those who wait for the same job.
        how: How to ask whether he still does, plain JSON without secrets: ``engine`` is the name of an engine in the
            entry points ``skyloom.interest``, the rest is that engine's own. Empty if he cannot be asked.
    """

    who: str
    how: Mapping[str, Any] = field(default_factory=dict)
    _said: dict[str, float] = field(default_factory=dict, repr=False)

    @classmethod
    def this_process(cls) -> Waiter:
        """Whoever runs this process; once it has gone, nobody can be asked."""
        return cls(f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}")

    def renew(self, store: Store, settings: Settings, job_id: str) -> None:
        """Say that the job is wanted, unless that was said a moment ago or the store cannot be used at present."""
        now = time.monotonic()
        if now - self._said.get(job_id, float("-inf")) >= min(RENEW_S, settings.interest_ttl_s / 4):
            with suppress(StoreTrouble):
                store.show_interest(job_id, self.who, self.how)
                self._said[job_id] = now


def want_to_the_end(store: Store, job_id: str) -> None:
    """Want a job until it is over, whoever is there to wait: what ``skyloom run --detach`` means."""
    store.show_interest(job_id, TO_THE_END, {TO_THE_END: True})
