"""Keeping one driver process alive per home."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys

from sky_core.config import Settings

LOCK_VARIABLE = "SKYLOOM_DRIVER_LOCK"
_started: list[subprocess.Popen[bytes]] = []  # looked at again, so that none stays a zombie


def try_lock(settings: Settings) -> int | None:
    """Try to be the one driver of a home and store: a file descriptor that is the lock, or None if there is one.

    The kernel lets go of it when the last process that has it open ends.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The sandbox and the real clouds may share a store, but never a driver.
    store = hashlib.sha256(f"{settings.profile} {settings.store_url}".encode()).hexdigest()[:8]
    lock = os.open(settings.home / f"driver-{store}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def ensure_driver(settings: Settings) -> None:
    """Start the driver unless one runs. It is a session of its own: it outlives whoever started it, and ends idle.

    It inherits this process's environment, which is how the clouds' credentials reach it, and the lock, so that
    there is no moment at which a second one could start. What may differ from job to job (secrets, allowed clouds)
    it takes from the job.
    """
    _started[:] = [process for process in _started if process.poll() is None]
    lock = try_lock(settings)
    if lock is None:
        return
    log = os.open(settings.home / "driver.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    environment = {**os.environ, "SKYLOOM_HOME": str(settings.home), "SKYLOOM_PROFILE": settings.profile,
                   "SKYLOOM_STORE": settings.store_url, LOCK_VARIABLE: str(lock)}  # fmt: skip
    for ours in ("SKYLOOM_CLOUDS", "SKYLOOM_KEY"):
        environment.pop(ours, None)
    if settings.key is not None:
        environment["SKYLOOM_KEY"] = settings.key.get_secret_value()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sky_core.driver.process"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=[lock],
        )
        _started.append(process)
    finally:
        os.close(log)
        os.close(lock)
