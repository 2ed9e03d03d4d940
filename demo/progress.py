"""Live progress of every job in a store, as lines: what ``skyloom logs -f`` shows for one."""

from __future__ import annotations

import threading

from rich.console import Console

from sky_core.broker import Broker
from sky_core.broker.runner import Follower
from sky_core.job.narrate import describe


class Progress(threading.Thread):
    """Prints the events and logs of all jobs until it is stopped."""

    def __init__(self, broker: Broker, console: Console) -> None:
        super().__init__(daemon=True)
        self.broker = broker
        self.console = console
        self._over = threading.Event()

    def run(self) -> None:
        """Look for news a few times a second."""
        followers: dict[str, Follower] = {}
        while True:
            last = self._over.wait(0.3)
            for job in reversed(self.broker.store.jobs()):
                follower = followers.setdefault(job.id, self.broker.follow(job.id))
                _, events, lines = next(follower)
                for text in [*map(describe, events), *(f"| {line}" for line in lines)]:
                    self.console.print(f"  {job.task:8} {text}", highlight=False, markup=False)
            if last:
                return

    def stop(self) -> None:
        """Print what is left, then end."""
        self._over.set()
        self.join()
