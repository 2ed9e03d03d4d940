"""A cluster's job as somebody follows it who may also end it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sky_core.broker.broker import Broker
from sky_core.broker.clusters.tunnel import Tunnel
from sky_core.broker.interest import Waiter
from sky_core.broker.spawn import DRIVER_CHECK_S, ensure_driver
from sky_core.job.narrate import describe
from sky_core.store import Job

LOOK_S = 0.5
END_S = 60.0  # for a cluster to begin to end by itself, before it is ended…
DOWN_S = 300.0  # …and until its machines are gone; then its driver goes on without us
NOT_NEEDED = "it was not needed any more"


class Living:
    """A cluster that somebody follows.

    Args:
        waiter: Whose interest in it is kept alive meanwhile.
        say: Told in a line whatever happens to it.
        seen: Id of the last event that need not be told.
    """

    def __init__(
        self, broker: Broker, job_id: str, waiter: Waiter, say: Callable[[str], object], seen: int = 0
    ) -> None:
        self.job_id = job_id
        self._broker, self._waiter, self._say, self._seen = broker, waiter, say, seen

    def watch(self, stop: Callable[[Job], bool]) -> Job:
        """Follow it until it is over or ``stop()`` is true of it; the job as it is then."""
        broker, checked = self._broker, float("-inf")
        while True:
            self._waiter.renew(broker.store, broker.settings, self.job_id)
            if time.monotonic() - checked > DRIVER_CHECK_S:
                ensure_driver(broker.settings)
                checked = time.monotonic()
            job = broker.job(self.job_id)
            for event in broker.store.events(self.job_id, self._seen):
                self._say(describe(event))
                self._seen = event.id
            if job.over or stop(job):
                return job
            time.sleep(min(broker.settings.poll_s, LOOK_S))

    def take_down(self, why: str, tunnel: Tunnel | None) -> Job:
        """End it, well if there is a ``tunnel`` to it, and wait until its machines are gone; the job as it is then."""
        job = self._broker.job(self.job_id)
        if tunnel is not None and not job.over:
            tunnel.end()
            job = self.watch(_after(END_S, _is_ending))
        if not _is_ending(job):
            self._broker.cancel(self.job_id, why)
        return self.watch(_after(DOWN_S))


def _is_ending(job: Job) -> bool:
    """Whether its end has begun by itself."""
    return job.over or job.memory.get("verdict") is not None


def _after(seconds: float, already: Callable[[Job], bool] = lambda job: False) -> Callable[[Job], bool]:
    """True of any job after so many seconds."""
    end = time.monotonic() + seconds
    return lambda job: already(job) or time.monotonic() > end
