"""Object stores that are out of order for a while, bucket by bucket."""

from __future__ import annotations

import threading
import time


class Outages:
    """Which buckets cannot be reached until when. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}  # prefix of a bucket's name -> monotonic seconds

    def add(self, prefix: str, seconds: float) -> None:
        """Let buckets whose name begins with ``prefix`` be out of order for ``seconds`` from now."""
        with self._lock:
            self._until[prefix] = time.monotonic() + seconds

    def hit(self, path: str) -> bool:
        """Whether a request to this path meets an outage. The bucket's place in a path is the dialect's affair."""
        now = time.monotonic()
        with self._lock:
            self._until = {prefix: until for prefix, until in self._until.items() if until > now}
            return any(part.startswith(prefix) for prefix in self._until for part in path.split("/"))
