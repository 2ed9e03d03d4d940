"""The supervisor's side of :mod:`.transfer`: finds a Python for it, keeps it running, asks and waits."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from ..job import root

RESTARTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0  # between two tries of a transfer
OLDEST = 2024  # fsspec's packages count by year; pip is known to resolve to an s3fs of 2020


class TransferFailed(Exception):
    """A transfer could not be done, although it was tried a few times.

    Attributes:
        final: Whether it is of a kind that time alone does not mend: nothing there, no permission, damaged data.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Courier:
    """Does one transfer at a time in a process of its own. Restarts it if it dies.

    Attributes:
        pids: The process, while there is one.
    """

    def __init__(self, options: Mapping[str, Any], requirements: Sequence[str], program: str, log: Path) -> None:
        self._options, self._requirements, self._program, self._log = options, requirements, program, log
        self._python: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`prepare` has been called."""
        return self._python is not None

    @property
    def closed(self) -> bool:
        """Whether the job is ending: nothing more will be moved."""
        return self._closed

    @property
    def pids(self) -> list[int]:
        process = self._process
        return [process.pid] if process else []

    def prepare(self) -> None:
        """Find a Python for the transfers, or make one.

        Raises:
            TransferFailed: if it cannot be made.
        """
        self._python = suitable_python(self._requirements, self._log)

    def ask(self, deed: str, **about: Any) -> Any:
        """Have a transfer done and return its answer; blocks.

        Raises:
            TransferFailed: if it cannot be done.
        """
        with self._lock:
            for _ in range(RESTARTS):
                answer = self._exchange({"do": deed, **about})
                if answer is not None:
                    break
                if self._closed:
                    raise TransferFailed("the job is ending")
            else:
                said = self._log.read_text(errors="replace")[-1000:].strip()
                raise TransferFailed(f"the process that moves data died {RESTARTS} times: {said or 'without a word'}")
        if "error" in answer:
            raise TransferFailed(answer["error"], final=answer["final"])
        return answer["answer"]

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
            process.wait()

    def _exchange(self, request: Mapping[str, Any]) -> Any:
        """One request and its answer, or None if the process died over it."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None
        try:
            line = _talk(process, json.dumps(request))
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):
            process.kill()
            process.wait()
            self._process = None
            return None
        return json.loads(line)

    def _start(self) -> None:
        assert self._python is not None, "prepare() comes first"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, self._program, "transfer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._options) + "\n")


class Patience:
    """Has transfers done, again and again if need be: for ``seconds`` each, with a word in the log."""

    def __init__(self, courier: Courier, seconds: float, say: Callable[[str], None]) -> None:
        self.courier, self._seconds, self._say = courier, seconds, say

    def ask(self, complaint: str, deed: str, about: Mapping[str, Any], *, whatever: bool = False) -> Any:
        """Have a transfer done and return its answer; ``complaint`` says what it means if it is not.

        Args:
            whatever: Be patient with errors that are final, too: somebody may read the log and mend what is wrong.

        Raises:
            TransferFailed: if it could not be done in time, or the job is ending.
        """
        give_up = time.monotonic() + self._seconds
        wait_s, told = FIRST_WAIT_S, ""
        while True:
            try:
                return self.courier.ask(deed, **about)
            except TransferFailed as failure:
                left = give_up - time.monotonic()
                if left <= 0 or self.courier.closed or (failure.final and not whatever):
                    raise TransferFailed(f"{complaint}: {failure}", final=failure.final) from None
                if str(failure) != told:
                    self._say(f"{complaint}, trying again for {left:.0f} s: {failure}")
                told = str(failure)
            time.sleep(min(wait_s, left))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _talk(process: subprocess.Popen[str], line: str) -> str:
    incoming: IO[str] | None = process.stdin
    outgoing: IO[str] | None = process.stdout
    assert incoming is not None
    assert outgoing is not None
    incoming.write(line + "\n")
    incoming.flush()
    return outgoing.readline()


def suitable_python(requirements: Sequence[str], log: Path) -> str:
    """A Python that has these packages: this one, or one in a virtual environment that is made when missing.

    Raises:
        TransferFailed: if it cannot be made.
    """
    if all(_has(requirement) for requirement in requirements):
        return sys.executable
    name = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    venv = root() / "venvs" / name
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another job on this machine may be making it
        if not (venv / "ready").exists():
            _make_venv(venv, requirements, log)
            (venv / "ready").touch()
    return str(venv / "bin" / "python")


def _has(requirement: str) -> bool:
    try:
        version = metadata.version(requirement.partition("=")[0].partition(">")[0])
    except metadata.PackageNotFoundError:
        return False
    return int(version.partition(".")[0]) >= OLDEST


def _make_venv(venv: Path, requirements: Sequence[str], log: Path) -> None:
    """By uv where the image has it, else by the standard library, else by uv after installing it.

    Ubuntu's images have Python without ``venv`` and ``pip``; uv's installer needs neither.
    """
    shutil.rmtree(venv, ignore_errors=True)
    python = str(venv / "bin" / "python")
    uv = shutil.which("uv") or str(root() / "bin" / "uv")
    with_uv = [[uv, "venv", "-q", str(venv)], [uv, "pip", "install", "-q", "--python", python, *requirements]]
    installer = "curl -LsSf https://astral.sh/uv/install.sh | sh"
    alone = [[sys.executable, "-m", "venv", str(venv)], [python, "-m", "pip", "install", "-q", *requirements]]
    ways = [with_uv] if os.path.exists(uv) else [alone, [["sh", "-c", installer], *with_uv]]
    environment = {**os.environ, "UV_INSTALL_DIR": str(root() / "bin"), "UV_NO_MODIFY_PATH": "1"}
    with log.open("ab") as output:
        for way in ways:
            if all(
                subprocess.call(step, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment) == 0
                for step in way
            ):
                return
    raise TransferFailed(
        f"cannot install {', '.join(requirements)} on this machine; its image needs access to a package index, "
        "or Python with these packages"
    )
