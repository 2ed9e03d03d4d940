"""A job as the try of a task that waits for it follows it. Imported where that takes no time from the event loop."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sky_airflow.told import Told
from sky_core.broker import Broker
from sky_core.broker.interest import Waiter
from sky_core.broker.lines import Lines
from sky_core.broker.spawn import ensure_driver
from sky_core.job.narrate import describe
from sky_core.store.reading.news import News, Seen

DRIVER_CHECK_S = 5.0


@dataclass
class Following:
    """How far a job has been followed.

    Attributes:
        told: How much Airflow's log has of it.
        seen: How much has been read of it.
    """

    broker: Broker
    job_id: str
    waiter: Waiter
    told: Told
    seen: Seen
    _lines: Lines = field(default_factory=Lines)
    _checked: float = field(default_factory=time.monotonic)  # the try that submitted it saw to its driver

    @classmethod
    def of(cls, broker: Broker, job_id: str, waiter: Waiter) -> Following:
        """From where an earlier triggerer was."""
        told = Told.of(broker.store, waiter, job_id)
        return cls(broker, job_id, waiter, told, Seen(job_id, told.event, told.offset))

    @property
    def care_s(self) -> float:
        """How often :meth:`care` is due."""
        return min(DRIVER_CHECK_S, self.broker.settings.interest_ttl_s / 4)

    def care(self) -> None:
        """Keep alive the interest in the job and the driver that advances it, and what has been told."""
        self.told.keep()
        self.waiter.renew(self.broker.store, self.broker.settings, self.job_id)
        if time.monotonic() - self._checked > DRIVER_CHECK_S:
            ensure_driver(self.broker.settings)
            self._checked = time.monotonic()

    def lines_of(self, news: News) -> list[str]:
        """What there is to tell of it."""
        end = news.job.over and not news.more
        return [*map(describe, news.events), *self._lines.feed(news.log, end=end)]

    def note(self, news: News) -> None:
        """All of it has been told."""
        self.told.add(news.events, news.log)
        self.seen = news.after(self.seen)
