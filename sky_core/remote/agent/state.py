"""What the supervisor tells the driver: one JSON file, replaced atomically at each change."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .job import write_whole
from .processes import alive, boot_id, look

ENDED = ("done", "lost")


class State:
    """The job's state. Thread-safe; every change is on disk when the call returns, or as soon as there is room."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entered = time.monotonic()
        self._unwritten = False
        self._data: dict[str, Any] = {
            "phase": "inputs",
            "exit_code": None,
            "eviction": False,
            "last_checkpoint": False,
            "checkpoint_generation": None,
            "checkpoint_bytes": 0,
            "checkpoint_seconds": 0.0,
            "restored_generation": None,
            "restored_bytes": 0,
            "moved": {"inputs": {}, "outputs": {}},
            "seconds": {},
            "detail": "",
            "unfit": "",
            "ended_at": None,
            "serves": False,
            "spare": False,
            "done": 0.0,
            "done_of": None,
            "done_at": None,
            "boot_id": boot_id(),
            "session": None,
            "tidy": False,
        }

    def begin(self, pid: int) -> None:
        """Write the first state, on behalf of the supervisor ``pid``; and who that is, for a shell to look it up."""
        process = look(pid)
        assert process is not None
        write_whole(self._path.with_name("supervisor"), f"{self['boot_id']} {pid} {process.started}\n".encode())
        self.change(pid=pid, started=process.started)

    def change(self, **changes: Any) -> None:
        """Replace some fields."""
        with self._lock:
            self._data.update(changes)
            self._write()

    def enter(self, phase: str, **changes: Any) -> None:
        """Go on to another phase; the time spent in the last is added to ``seconds``."""
        with self._lock:
            now = time.monotonic()
            last, seconds = self._data["phase"], self._data["seconds"]
            seconds[last] = seconds.get(last, 0.0) + now - self._entered
            self._entered = now
            self._data.update(phase=phase, **changes)
            if phase in ENDED:
                self._data["ended_at"] = time.time()
            self._write()

    def moved(self, direction: str, name: str, size: int) -> None:
        """Note the bytes of an input or output that was moved."""
        with self._lock:
            self._data["moved"][direction][name] = size
            self._write()

    def flush(self) -> None:
        """Write what was not: how far the command says it is, and what a full disk has kept from being written."""
        told = _progress(self._path.with_name("progress"))
        with self._lock:
            if any(self._data[name] != value for name, value in told.items()):
                self._data.update(told)
                self._unwritten = True
            if self._unwritten:
                self._write()

    def told(self) -> dict[str, Any]:
        """All fields, as they are now."""
        with self._lock:
            return dict(self._data)

    def __getitem__(self, field: str) -> Any:
        return self._data[field]

    def _write(self) -> None:
        try:
            write_whole(self._path, json.dumps(self._data).encode() + b"\n")  # a line, for a shell
        except OSError:
            self._unwritten = True
        else:
            self._unwritten = False


def _progress(path: Path) -> dict[str, float | None]:
    """What the command has said last: so much is done, of so much, and when; nothing where that is not to be read."""
    try:
        at = path.stat().st_mtime
        done, *of = (float(word) for word in path.read_text().split())
    except (OSError, ValueError):
        return {}
    if not all(math.isfinite(number) and number >= 0 for number in (done, *of)):
        return {}
    return {"done": done, "done_of": of[0] if of else None, "done_at": at}


def read_state(path: Path) -> dict[str, Any] | None:
    """The state that was last written, or None if there is none."""
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return data


def supervisor_lives(state: Mapping[str, Any]) -> bool:
    """Whether the supervisor that wrote the state still runs."""
    return state["boot_id"] == boot_id() and alive(state["pid"], state["started"])


def log_size(path: Path) -> int:
    """Bytes in the log so far."""
    return os.stat(path).st_size
