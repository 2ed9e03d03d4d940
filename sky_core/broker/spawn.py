"""Keeping one driver process alive per home."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sky_core.config import Settings

log = logging.getLogger("skyloom.driver")

STARTING = " starts"  # stands in the lock file behind the number of a driver that has not shown life itself yet
LOCK_VARIABLE = "SKYLOOM_DRIVER_LOCK"
HUNG_LEASES = 3.0
LONGEST_VAIN_S = 60.0  # between two starts that come to nothing
ENDING_S = 1.0  # from letting go of the lock, which the kernel does, to its end
START_S = 120.0  # what a driver may take to its first sign of life: a loaded host takes its time
DRIVER_CHECK_S = 2.0  # how often those who watch a job see to it that it has a driver
_shown: dict[str, tuple[tuple[float, str], float]] = {}  # by lock file: its last sign of life, and when we saw it
_started: dict[int, tuple[Path, subprocess.Popen[bytes]]] = {}  # by number, with its lock file; no zombies are left
_vain: dict[Path, tuple[int, float]] = {}  # by lock file: starts in vain in a row, and when the next may be


def _lock_file(settings: Settings) -> Path:
    # The sandbox and the real clouds may share a store, but never a driver.
    store = hashlib.sha256(f"{settings.profile} {settings.store_url}".encode()).hexdigest()[:8]
    return settings.home / f"driver-{store}.lock"


def try_lock(settings: Settings) -> int | None:
    """Try to be the one driver of a home and store: a file descriptor that is the lock, or None if there is one.

    The kernel lets go of it when the last process that has it open ends.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(_lock_file(settings), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    os.ftruncate(lock, 0)  # whoever held it last is no driver any more, and his number may be somebody else's by now
    return lock


@contextmanager
def sign_of_life(settings: Settings) -> Iterator[None]:
    """While the block runs, the holder of the lock keeps showing that it is not hung: :func:`ensure_driver` looks."""
    file, ended = _lock_file(settings), threading.Event()
    file.write_text(str(os.getpid()))

    def show() -> None:
        while not ended.wait(settings.lease_s / 3):
            with suppress(OSError):
                os.utime(file)

    threading.Thread(target=show, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        file.write_text("")


def _end_hung(settings: Settings) -> None:
    """End a driver that has the lock but has shown no life for three leases of this process's time.

    One that has only just been started, and has shown none yet, has ``START_S`` for that. Its leases have lapsed by
    then; what it might still write is fenced off, but what it might ask of a cloud is not.
    """
    file = _lock_file(settings)
    with suppress(OSError, ValueError):
        shown, now = (file.stat().st_mtime, file.read_text()), time.monotonic()
        since = _shown.setdefault(str(file), (shown, now))
        pid, starting, _ = shown[1].partition(STARTING)
        patience_s = HUNG_LEASES * settings.lease_s
        if since[0] != shown:
            _shown[str(file)] = (shown, now)
        elif pid and now - since[1] > (max(START_S, patience_s) if starting else patience_s):
            log.warning("the driver, process %s, hangs: ending it", pid)
            del _shown[str(file)]
            os.kill(int(pid), signal.SIGKILL)


def _reap() -> None:
    """Take note of our drivers that have ended. One that ended by a mistake is not started again at once, and told.

    Threads of one process may all be here at once (flows, triggers): the one that takes it out takes note of it.
    """
    for number, (file, process) in tuple(_started.items()):
        if process.poll() is None or _started.pop(number, None) is None:
            continue
        if process.returncode <= 0:  # its work is done, or somebody has killed it
            _vain.pop(file, None)
            continue
        times = _vain.get(file, (0, 0.0))[0] + 1
        wait_s = min(DRIVER_CHECK_S * 2**times, LONGEST_VAIN_S)
        _vain[file] = (times, time.monotonic() + wait_s)
        log.warning("the driver ended by a mistake, and is started again in %.0f s: %s", wait_s, _last_words(file))


def _await_ending(file: Path) -> None:
    """Take note of a driver of ours that has let go of its lock, and so is ending, but had not ended a moment ago."""
    for holder, process in tuple(_started.values()):
        if holder == file:
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
    _reap()


def _last_words(file: Path) -> str:
    try:
        return (file.parent / "driver.log").read_text(errors="replace").strip().rpartition("\n")[2]
    except OSError:
        return "nothing"


def ensure_driver(settings: Settings) -> None:
    """Start the driver unless one runs; one that hangs is ended, to be replaced at the next call.

    It is a session of its own: it outlives whoever started it, and ends idle. It inherits this process's environment
    and gets what the settings say of logging in, which is how the clouds' credentials reach it, and the lock, so that
    there is no moment at which a second one could start. What may differ from job to job (secrets, allowed clouds) it
    takes from the job.
    """
    _reap()
    lock = try_lock(settings)
    if lock is None:
        _end_hung(settings)
        return
    _await_ending(_lock_file(settings))
    if time.monotonic() < _vain.get(_lock_file(settings), (0, 0.0))[1]:
        os.close(lock)
        return
    output = os.open(settings.home / "driver.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    environment = {**settings.environ(), "SKYLOOM_HOME": str(settings.home), "SKYLOOM_PROFILE": settings.profile,
                   "SKYLOOM_STORE": settings.store_url, LOCK_VARIABLE: str(lock)}  # fmt: skip
    for ours in ("SKYLOOM_CLOUDS", "SKYLOOM_KEY"):
        environment.pop(ours, None)
    if settings.key is not None:
        environment["SKYLOOM_KEY"] = settings.key.get_secret_value()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sky_core.driver.process"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd="/",
            start_new_session=True,
            pass_fds=[lock],
        )
        _started[process.pid] = (_lock_file(settings), process)
        _lock_file(settings).write_text(f"{process.pid}{STARTING}")
    finally:
        os.close(output)
        os.close(lock)
