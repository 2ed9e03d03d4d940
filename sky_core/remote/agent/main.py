"""The agent's commands. Each is one short process, except ``supervise``, which stays as long as the job does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .job import Job, Place
from .processes import alive, boot_id
from .supervisor import Supervisor

LOG_CHUNK = 1 << 20
BIRTH_S = 10.0  # within which a supervisor writes its first state


def main() -> None:
    """Run the command that the arguments name."""
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "start":
        print(start(json.load(sys.stdin)))
    elif command == "supervise":
        Supervisor(Job(**json.load(sys.stdin)), program=sys.argv[0]).run()
    elif command == "poll":
        poll(Place.of(arguments[0], int(arguments[1])), int(arguments[2]))
    elif command == "cancel":
        Place.of(arguments[0], int(arguments[1])).cancel.write_text(arguments[2])
    elif command == "call":
        from .call import call

        sys.exit(call(Path(arguments[0])))
    elif command == "transfer":
        from .transfer import main as transfer

        transfer()
    else:
        sys.exit(f"no command {command!r}")


def start(description: dict[str, object]) -> str:
    """Leave a supervisor behind for the job, once: making its folder is the lock."""
    job = Job(**description)  # type: ignore[arg-type]
    place = Place.of(job.job_id, job.attempt)
    place.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        place.folder.mkdir(mode=0o700)
    except FileExistsError:
        if _born(place):
            return "exists"
        shutil.rmtree(place.folder)  # whoever made it died before the supervisor lived
        place.folder.mkdir(mode=0o700)
    place.log.touch(mode=0o600)
    place.lease.touch()
    supervisor = subprocess.Popen(
        [sys.executable, sys.argv[0], "supervise"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=(place.folder / "agent.log").open("ab"),
        start_new_session=True,
        text=True,
    )
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(description))
    supervisor.stdin.close()
    return "started" if _born(place) else "slow"


def _born(place: Place) -> bool:
    deadline = time.monotonic() + BIRTH_S
    while not place.state.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def poll(place: Place, offset: int) -> None:
    """Write one line of JSON about the job and then its log from ``offset`` on; a sign of life for the lease."""
    out = sys.stdout.buffer
    try:
        state = json.loads(place.state.read_text())
    except FileNotFoundError:
        out.write(b'{"phase": "missing"}\n')
        return
    os.utime(place.lease)
    if state["phase"] != "done" and not (state["boot_id"] == boot_id() and alive(state["pid"], state["started"])):
        state.update(phase="lost", detail="the machine was restarted, or the agent was killed")
    with place.log.open("rb") as log:
        log.seek(offset)
        data = log.read(LOG_CHUNK)
        more = log.read(1) != b""
    if more and state["phase"] == "done":
        state["phase"] = "outputs"  # the end is told when the log has been
    out.write(json.dumps({**state, "log_offset": offset + len(data)}).encode() + b"\n" + data)
