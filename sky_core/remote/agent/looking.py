"""One look at a job that is as it should be: its state, the new part of its log, and a sign of life for it.

A driver looks every few seconds, at a machine that computes for somebody else. So this imports next to nothing: a look
costs a third of what it costs with all of the agent, most of it the start of Python itself.
"""

from __future__ import annotations

import json
import os
import sys

ENDED = ("done", "lost")
PART = 8 << 20  # bytes of log in one answer; who wants more asks again


def looked(argv: list[str]) -> bool:
    """Answer ``poll`` about the attempt that the program lies beside; False if that takes more than a look."""
    program, *command = argv
    if command[:1] != ["poll"]:
        return False
    folder, offset = os.path.dirname(program), int(command[3])
    try:
        state = json.loads(read(f"{folder}/state.json"))
    except OSError:
        return False
    if state["phase"] not in ENDED and not supervisor_lives(state):
        return False
    os.utime(f"{folder}/lease")
    sys.stdout.buffer.write(told(state, f"{folder}/log", offset))
    sys.stdout.buffer.flush()
    return True


def told(state: dict[str, object], log: str, offset: int) -> bytes:
    """The state as a line of JSON, with ``log_size``, and the log from ``offset`` on, as far as one part goes.

    Who asks from before its beginning on does not want the log.
    """
    part = b""
    if offset >= 0:
        with open(log, "rb") as file:
            file.seek(offset)
            part = file.read(PART)
    return json.dumps({**state, "log_size": os.stat(log).st_size}).encode() + b"\n" + part


def supervisor_lives(state: dict[str, object]) -> bool:
    """Whether the supervisor that wrote the state still runs."""
    return state["boot_id"] == boot_id() and alive(state["pid"], state["started"])


def alive(pid: object, started: object) -> bool:
    """Whether the very process that was started then, in clock ticks after boot, still runs."""
    try:
        about = fields(f"/proc/{pid}/stat")
    except OSError:
        return False
    return int(about[19]) == started and about[0] not in ("Z", "X")


def fields(stat: str) -> list[str]:
    """What a process's file says after its name, which may hold anything, blanks and brackets too: proc_pid_stat(5).

    Raises:
        OSError: if there is no such process.
    """
    return read(stat).rpartition(")")[2].split()


def boot_id() -> str:
    """Differs after each boot of the machine."""
    return read("/proc/sys/kernel/random/boot_id").strip()


def read(path: str) -> str:
    """A file's text."""
    with open(path) as file:
        return file.read()
