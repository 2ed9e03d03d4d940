"""What is told, and what hears it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sky_core.events import Happening
from sky_core.store import Job


@dataclass(frozen=True)
class Told:
    """What has happened to a job in one step; ``at`` in seconds since the epoch."""

    job: Job
    events: Sequence[Happening]
    at: float


Listener = Callable[[Told], None]
