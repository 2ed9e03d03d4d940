"""Keeping one driver process alive per home."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sky_core.config import Settings


@contextmanager
def driver_lock(settings: Settings) -> Iterator[bool]:
    """Try to be the one driver of a home and store; yields whether it worked. The kernel lets go when we die."""
    settings.home.mkdir(parents=True, exist_ok=True)
    store = hashlib.sha256(settings.store_url.encode()).hexdigest()[:8]
    with (settings.home / f"driver-{store}.lock").open("a") as file:
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
    with driver_lock(settings) as free:
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
