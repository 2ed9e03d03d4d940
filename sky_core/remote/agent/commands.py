"""What the driver calls over SSH, and what the agent calls of itself.

Each command imports what it needs itself: from a zip file all of the agent takes ten times as long to import as what
one that looks at a job needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import processes
from .job import Job, Place, write_whole
from .state import ENDED, State, log_size, read_state, supervisor_lives

KILL_TIMEOUT_S = 10.0
PART = 8 << 20  # bytes of log in one answer; who wants more asks again
LAST_UPLOAD_S = 600.0  # for the last checkpoint of a job that goes on elsewhere


def main(argv: Sequence[str]) -> int:
    """Perform one command of the agent; return its exit status."""
    program, command, *arguments = argv
    if command == "start":
        print(start(json.load(sys.stdin), os.path.abspath(program)))
    elif command == "poll":
        job_id, attempt, offset = arguments
        sys.stdout.buffer.write(poll(job_id, int(attempt), int(offset)))
    elif command == "cancel":
        job_id, attempt, grace_s, why = arguments
        cancel(job_id, int(attempt), float(grace_s), why)
    elif command == "renew":
        job_id, attempt = arguments
        renew(job_id, int(attempt), sys.stdin.readline())
    elif command == "peers":
        from .gang.logins import readdress

        job_id, attempt = arguments
        readdress(Place.of(job_id, int(attempt)), **json.load(sys.stdin))
    elif command == "keep":
        from .host import keeping

        job_id, attempt, seconds, cloud = arguments
        keeping.keep(job_id, int(attempt), float(seconds), cloud, os.path.abspath(program))
    elif command == "hold":
        from .host import keeping

        keeping.hold(arguments[0])
    elif command == "transfer":
        from .data import transfer

        transfer.main()
    elif command == "alone":
        from .container import namespace

        namespace.alone()
    elif command == "unpack":
        from .container import unpacking

        folder, *layers = arguments
        unpacking.unpack(((Path(file), kind) for file, kind in zip(layers[::2], layers[1::2])), Path(folder))  # noqa: B905 - Python 3.9
    elif command == "enter":
        from .container import namespace

        namespace.enter(**json.loads(arguments[0]), env=os.environ)
    elif command == "engine":
        from .engines import running

        return running.main()
    elif command == "call":
        from . import call

        return call.main(arguments[0])
    else:
        raise SystemExit(f"no such command: {command}")
    return 0


def start(description: dict[str, Any], program: str) -> str:
    """Leave a supervisor behind for the job; ``"started"``, or ``"exists"`` if there was one for this attempt.

    A machine whose Pythons do not serve the job answers ``"unfit"``, its processor, and what it lacks.
    """
    from .host.keeping import let_go
    from .pythons.fit import lacking

    job = Job(**description)
    place = Place.of(job.job_id, job.attempt)
    if missing := lacking(job):
        return f"unfit {os.uname().machine} {', '.join(missing)}"
    let_go()
    place.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.close(read_end)
        _daemon(job, place, program, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read()
    if not answer:
        raise SystemExit("the supervisor did not start")
    return answer


def _daemon(job: Job, place: Place, program: str, write_end: int) -> None:
    """Become the job's supervisor, unless it has one. Does not return."""
    import shutil

    from .supervisor import Supervisor

    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.umask(0o077)
    # The folder appears whole, with the first state in it, and its appearing is the lock.
    fresh = Place(place.folder.with_name(f"{place.folder.name}.{os.getpid()}.new"))
    shutil.rmtree(fresh.folder, ignore_errors=True)
    fresh.folder.mkdir()
    fresh.program.symlink_to(program)
    fresh.python.symlink_to(sys.executable)
    fresh.log.touch()
    fresh.lease.touch()
    os.utime(fresh.lease, (0, 0))  # nobody has asked yet
    os.mkfifo(fresh.renewals, 0o600)
    State(fresh.state).begin(os.getpid())
    try:
        fresh.folder.rename(place.folder)
    except OSError:
        shutil.rmtree(fresh.folder)
        os.write(write_end, b"exists")
        os._exit(0)
    state = State(place.state)
    state.begin(os.getpid())
    if job.peers:
        from .gang.logins import Logins

        with contextlib.suppress(OSError):  # the supervisor does it again, and says what is wrong
            Logins(job, place).open()
    os.write(write_end, b"started")
    _detach(place.own_log)
    os.closerange(3, write_end + 1)
    supervisor = Supervisor(job, place, state, program)
    supervisor.run()
    supervisor.outlive()
    os._exit(0)


def _detach(output: Path) -> None:
    """Let go of the SSH connection; what the agent itself may print goes to a file."""
    null, log = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.chdir("/")


def poll(job_id: str, attempt: int, offset: int) -> bytes:
    """Renew the lease; the state as a line of JSON, with ``log_size``, and the log from ``offset`` on, a part at most.

    Who asks from before its beginning on does not want the log. The attempt may never have been, or its supervisor may
    be gone; while it lives, the driver looks for itself (``LOOK`` in :mod:`sky_core.remote.ssh_executor`).
    """
    place = Place.of(job_id, attempt)
    state = read_state(place.state)
    if state is None:
        return json.dumps({"phase": "missing"}).encode() + b"\n"
    os.utime(place.lease)
    if state["phase"] not in ENDED and not supervisor_lives(state):
        state = read_state(place.state) or state  # it may have ended well between two looks
        if state["phase"] not in ENDED:
            _end_session(state)
            state.update(phase="lost", detail="the agent was killed or the machine was restarted")
    part = b""
    if offset >= 0:
        with place.log.open("rb") as file:
            file.seek(offset)
            part = file.read(PART)
    return json.dumps({**state, "log_size": log_size(place.log)}).encode() + b"\n" + part


def cancel(job_id: str, attempt: int, grace_s: float, why: str) -> None:
    """End the job: SIGTERM, and after ``grace_s`` seconds SIGKILL. Returns when nothing of it runs any more.

    ``why`` is "cancelled", or "moved": then a last checkpoint is taken, and a command that is over gets to publish.
    """
    place = Place.of(job_id, attempt)
    state = read_state(place.state)
    if state is None:
        return
    write_whole(place.cancel, f"{grace_s} {why}".encode())
    deadline = time.monotonic() + grace_s + (LAST_UPLOAD_S if why == "moved" else KILL_TIMEOUT_S)
    while state["phase"] not in ENDED and supervisor_lives(state) and time.monotonic() < deadline:
        time.sleep(0.05)
        state = read_state(place.state) or state
    if state["phase"] not in ENDED:
        if supervisor_lives(state):  # it hangs
            os.kill(state["pid"], signal.SIGKILL)
        _end_session(state)


def renew(job_id: str, attempt: int, options: str) -> None:
    """Hand the supervisor storage options (one line of JSON) in place of those that end soon."""
    place = Place.of(job_id, attempt)
    try:
        pipe = os.open(place.renewals, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody reads: it has ended
        return
    os.set_blocking(pipe, True)
    with os.fdopen(pipe, "w") as file:
        file.write(options.strip() + "\n")


def _end_session(state: dict[str, Any]) -> None:
    """Kill what a dead supervisor's command has left running."""
    if state.get("room"):
        import subprocess

        subprocess.run(state["room"], capture_output=True)
    if state["session"] is None or state["boot_id"] != processes.boot_id():
        return
    leader, started = state["session"]
    found = processes.look(leader)
    if found is not None and found.started != started:
        return  # the number belongs to another process now
    while True:
        left = [process for process in processes.table() if process.session == leader]
        if not left:
            return
        processes.send(left, signal.SIGKILL)
        time.sleep(0.01)
