"""Processes of a job on Linux: who is still the one we started, who belongs to the job, who writes where."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Process:
    """One line of the process table. ``started`` is in clock ticks after boot; with ``pid`` it names a process."""

    pid: int
    state: str
    parent: int
    session: int
    started: int


def alive(pid: int, started: int) -> bool:
    """Whether the very process that was started then, in clock ticks after boot, still runs."""
    process = look(pid)
    return process is not None and process.started == started and process.state not in "ZX"


def boot_id() -> str:
    """Differs after each boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def look(pid: int) -> Process | None:
    """The process with that id, if there is one."""
    try:
        about = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name may hold anything
    except OSError:
        return None
    return Process(pid, about[0], int(about[1]), int(about[3]), int(about[19]))


def table() -> list[Process]:
    """All processes that are not dead."""
    found = (look(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process is not None and process.state not in "ZX"]


def adopt_orphans() -> None:
    """Let descendants whose parents end become this process's children, so that none escapes."""
    import ctypes  # not for a look at the job

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def family(leader: int, guardian: int, helpers: Iterable[int]) -> list[Process]:
    """The job's processes: the leader's session and descendants, and orphans the guardian has adopted."""
    processes = table()
    mine = {process.pid for process in processes if process.session == leader or process.pid == leader}
    mine |= {p.pid for p in processes if p.parent == guardian and p.pid not in set(helpers)}
    grown = True
    while grown:
        children = {process.pid for process in processes if process.parent in mine} - mine
        mine |= children
        grown = bool(children)
    return [process for process in processes if process.pid in mine and process.pid != guardian]


def reap(guardian: int, helpers: Iterable[int]) -> None:
    """Take leave of adopted orphans that have ended."""
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return  # no child has ended, adopted or not: asked often, and the table is long
    except ChildProcessError:
        return
    for name in os.listdir("/proc"):
        process = look(int(name)) if name.isdigit() else None
        if process and process.parent == guardian and process.state == "Z" and process.pid not in set(helpers):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    """Signal each of these processes, unless it has ended."""
    for process in processes:
        if alive(process.pid, process.started):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, number)


def writes_in(processes: Iterable[Process], folder: Path) -> bool:
    """Whether one of these processes has a file in ``folder`` open for writing, other than an unfinished one."""
    from .data.trees import UNFINISHED  # nor is this

    inside = f"{folder.resolve()}{os.sep}"
    for process in processes:
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(OSError):
                    path = os.readlink(f"/proc/{process.pid}/fd/{fd}")
                    if path.startswith(inside) and not path.endswith(UNFINISHED) and _writable(process.pid, fd):
                        return True
    return False


def _writable(pid: int, fd: str) -> bool:
    lines = Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines()
    flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
    return bool(flags & WRITING)
