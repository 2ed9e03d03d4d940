"""A machine that is kept when its job is over: nothing of the job stays on it, and in time it ends itself.

Its time stands in a file, by the machine's own clock. A process of its own holds back what else would end a machine on
which no agent lives, as long as the file is there; the agent of the next job removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ..job import Place, root, write_whole
from ..state import read_state, supervisor_lives
from .halting import end_bill

ALIVE, ALIVE_S = "alive", 2.0  # the file, below the agent's root, whose age the machine's own timer looks at
TIDY_S = 30.0  # for an attempt that has ended to put away what it has used: containers, logins, credentials


def stay_alive() -> None:
    """Hold the machine's own timer back for a while, which would end it where no agent lives."""
    with suppress(OSError):  # a full disk, say: it is tried again
        (root() / ALIVE).touch()


def keep(job_id: str, attempt: int, seconds: float, cloud: str, program: str) -> None:
    """Stay for so many seconds and not longer, whatever was said before; of the attempt nothing is left."""
    _folder().mkdir(mode=0o700, exist_ok=True)
    if not _python().is_symlink():
        _python().symlink_to(sys.executable)
    write_whole(_until(), str(time.monotonic() + seconds).encode())
    if os.fork() == 0:
        _hold_apart(cloud, program)
    _clear(Place.of(job_id, attempt))


def let_go() -> None:
    """A job has the machine from now on."""
    _until().unlink(missing_ok=True)


def hold(cloud: str) -> None:
    """Wait until the machine is let go of, or until its time is over; end it then. One process does so at a time."""
    with (_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        while (left := _left()) > 0:
            stay_alive()
            time.sleep(min(ALIVE_S, left))
        try:
            _until().rename(_folder() / "over")  # either we have it, or a job that has come just now
        except FileNotFoundError:
            return
        end_bill(cloud)


def _left() -> float:
    """Seconds that the machine is still kept; 0 once it is not."""
    try:
        return float(_until().read_text()) - time.monotonic()
    except FileNotFoundError:
        return 0.0


def _hold_apart(cloud: str, program: str) -> None:
    """Become the process that holds the machine. Does not return."""
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.closerange(3, 256)
    os.chdir("/")
    os.execv(sys.executable, [sys.executable, "-S", program, "hold", cloud])  # noqa: S606


def _clear(place: Place) -> None:
    """End the attempt's agent, which stays after the end for whoever asks, and remove what the job has brought."""
    patience = time.monotonic() + TIDY_S
    while (state := read_state(place.state)) is not None and supervisor_lives(state):
        if state.get("tidy") or time.monotonic() > patience:
            with suppress(ProcessLookupError):
                os.kill(state["pid"], signal.SIGKILL)
        time.sleep(0.02)
    for folder in (place.folder.parent, root() / "workdirs"):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():  # what a command has written as root
            subprocess.run(["sudo", "-n", "rm", "-rf", str(folder)], stdin=subprocess.DEVNULL, check=True)


def _folder() -> Path:
    return root() / "kept"


def _until() -> Path:
    return _folder() / "until"


def _python() -> Path:
    return _folder() / "python"
