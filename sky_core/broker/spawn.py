"""Keeping one driver process alive per home."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sky_core.config import Settings

LOCK_FILE = "driver.lock"


@contextmanager
def driver_lock(home: Path) -> Iterator[bool]:
    """Try to be the home's one driver; yields whether it worked. The kernel lets go when the process dies."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def ensure_driver(settings: Settings) -> None:
    """Start the driver unless one runs. It is a session of its own: it outlives whoever started it, and ends idle.

    It inherits this process's environment, which is how credentials and secrets reach it.
    """
    with driver_lock(settings.home) as free:
        if not free:
            return
    environment = {**os.environ, "SKYLOOM_HOME": str(settings.home), "SKYLOOM_PROFILE": settings.profile,
                   "SKYLOOM_STORE": settings.store_url}  # fmt: skip
    log = os.open(settings.home / "driver.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        subprocess.Popen(
            [sys.executable, "-m", "sky_core.broker.driver"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)
