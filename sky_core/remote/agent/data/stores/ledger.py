"""What of an upload has arrived, in a file: who begins again, after whatever went wrong, sends what is missing only."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path

from ..manifests import Manifest


class Ledger:
    """Objects that are in the store, each with the hash of its content. Thread-safe.

    A line is written when its object is whole there, so that at worst one is sent twice.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self._there: set[tuple[str, str]] = set()
        with contextlib.suppress(FileNotFoundError):
            for line in file.read_text().splitlines():
                with contextlib.suppress(ValueError):  # cut off in the middle
                    path, sha256 = json.loads(line)
                    self._there.add((path, sha256))

    def has(self, path: str, entry: Manifest) -> bool:
        """Whether the object at ``path`` has the content that a manifest's entry tells of."""
        return (path, entry["sha256"]) in self._there

    def add(self, path: str, entry: Manifest) -> None:
        """The object is there now."""
        with self._lock, self._file.open("a") as file:
            file.write(json.dumps([path, entry["sha256"]]) + "\n")

    def close(self) -> None:
        """All is there, and said to be."""
        self._file.unlink(missing_ok=True)
