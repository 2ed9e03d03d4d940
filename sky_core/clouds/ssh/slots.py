"""Which jobs have claimed a slot of this machine. Runs on the machine itself, alone: ``python3 - list < slots.py``.

    claim TOKEN SLOTS TAGS   take a slot, if fewer than SLOTS are taken; a claim that is there stays as it is
    list                     all claims
    release TOKEN            end what still runs of it, remove its files, give the slot back

Answers one line of JSON. The machine keeps the claims, not a driver: so nothing is taken twice whoever asks, and a
claim is found again after whoever made it has died. A claim is void once the machine was booted anew, when its agent
has seen that nobody asks for its job any more, and when no agent has been started for it in an hour.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path.home() / ".skyloom"
FILE, LOCK = ROOT / "slots.json", ROOT / "slots.lock"
BOOT = Path("/proc/sys/kernel/random/boot_id")
NOT_STARTED_S = 3600.0
ENDING_S = 60.0
WORKDIRS_S = 7 * 24 * 3600.0  # packed folders that no job has brought for so long are removed
JOB = "skyloom-job"  # the tag

Claim = dict[str, Any]


def main(command: str, *arguments: str) -> dict[str, Any]:
    """Carry a command out; its answer."""
    ROOT.mkdir(mode=0o700, exist_ok=True)
    if command == "claim":
        token, slots, tags = arguments
        return claim(token, int(slots), json.loads(tags))
    if command == "release":
        return release(arguments[0])
    with _locked():
        return {"claims": _read()}


def claim(token: str, slots: int, tags: dict[str, str]) -> dict[str, Any]:
    """Whether the slot is ours now, and how many others are taken."""
    with _locked():
        claims = _read()
        mine = [one for one in claims if one["token"] == token]
        others = len(claims) - len(mine)
        if not mine and others < slots:
            mine = [{"token": token, "tags": tags, "claimed_at": time.time(), "boot": _boot()}]
            _write([*claims, *mine])
    return {"claim": mine[0] if mine else None, "others": others}


def release(token: str) -> dict[str, Any]:
    """End what runs under the claim; the slot is free only then."""
    with _locked():
        mine = [one for one in _read() if one["token"] == token]
    for one in mine:
        _end(_folder(one))
    with _locked():
        _write([one for one in _read() if one["token"] != token])
    for packed in (ROOT / "workdirs").glob("*.tar.gz"):
        if packed.stat().st_mtime < time.time() - WORKDIRS_S:
            packed.unlink(missing_ok=True)
    return {"released": len(mine)}


def _end(folder: Path | None) -> None:
    """Let the agent end its job, and remove what the job has left here."""
    if folder is None or not folder.exists():
        return
    program = folder / "agent.pyz"
    if program.exists():
        command = ["python3", "-S", str(program), "cancel", folder.parent.name, folder.name, "0", "cancelled"]
        subprocess.run(command, check=True, timeout=ENDING_S, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _end_supervisor(json.loads((folder / "state.json").read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _end_supervisor(state: dict[str, Any]) -> None:
    """The agent stays after the end of its job for whoever asks; nobody will."""
    try:
        started = int(Path(f"/proc/{state['pid']}/stat").read_text().rpartition(")")[2].split()[19])  # proc_pid_stat(5)
    except OSError:
        return
    if started == state["started"]:  # else the number belongs to another process now
        with contextlib.suppress(ProcessLookupError):
            os.kill(state["pid"], signal.SIGKILL)


def _folder(one: Claim) -> Path | None:
    """Where the agent keeps the attempt that a claim was made for."""
    job, attempt = one["tags"].get(JOB), one["token"].rpartition("-")[2]
    return ROOT / "jobs" / job / attempt if job and attempt.isdigit() else None


def _void(one: Claim) -> bool:
    if one["boot"] != _boot():
        return True
    folder = _folder(one)
    if folder is None or not folder.exists():
        return bool(one["claimed_at"] < time.time() - NOT_STARTED_S)
    return (folder / "over").exists()


def _boot() -> str:
    return BOOT.read_text().strip() if BOOT.exists() else ""


class _locked:  # noqa: N801 - reads as what it does
    """One at a time, whoever asks; the lock goes with its process."""

    def __enter__(self) -> None:
        self._file = LOCK.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _read() -> list[Claim]:
    claims: list[Claim] = json.loads(FILE.read_text()) if FILE.exists() else []
    return [one for one in claims if not _void(one)]


def _write(claims: list[Claim]) -> None:
    new = FILE.with_suffix(".new")
    new.write_text(json.dumps(claims))
    new.replace(FILE)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
