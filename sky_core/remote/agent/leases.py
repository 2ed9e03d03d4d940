"""Who still asks for a job: the driver's sign of life, for this job and for the others of its machine."""

from __future__ import annotations

import time
from pathlib import Path

from .job import Place, root
from .state import ENDED, read_state, supervisor_lives


class Lease:
    """The driver's sign of life: the time since the lease file was last touched, by a clock that cannot jump."""

    def __init__(self, path: Path, ttl_s: float) -> None:
        self._path, self._ttl_s = path, ttl_s
        self._seen: float | None = None
        self._changed = time.monotonic()

    def expired(self) -> bool:
        """Whether nobody has touched the file for the time to live."""
        touched = self._path.stat().st_mtime
        if touched != self._seen:
            self._seen, self._changed = touched, time.monotonic()
        return time.monotonic() - self._changed > self._ttl_s


class Others:
    """The other jobs of this machine: it is not to be halted under one that still runs, or that is still asked for."""

    def __init__(self, mine: Place, ttl_s: float) -> None:
        self._mine, self._ttl_s = mine, ttl_s
        self._leases: dict[Path, Lease] = {}

    def live(self) -> bool:
        """Whether there are any. Has to be asked every now and then: it sees leases renewed, not when they were."""
        places = [Place(lease.parent) for lease in (root() / "jobs").glob("*/*/lease")]
        found = [place for place in places if place.folder != self._mine.folder]
        asked = [not self._leases.setdefault(p.lease, Lease(p.lease, self._ttl_s)).expired() for p in found]
        return any(asked) or any(_is_under_way(place) for place in found)


def _is_under_way(place: Place) -> bool:
    state = read_state(place.state)
    return state is not None and state["phase"] not in ENDED and supervisor_lives(state)
