"""The supervisor's side of :mod:`.transfer`: keeps it running, asks and waits."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

RESTARTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0  # between two tries of a transfer


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

    def __init__(self, options: Mapping[str, Any], program: str, log: Path) -> None:
        self._options, self._program, self._log = options, program, log
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the job is ending: nothing more will be moved."""
        return self._closed

    @property
    def pids(self) -> list[int]:
        process = self._process
        return [process.pid] if process else []

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

    def renew(self, options: Mapping[str, Any]) -> None:
        """Use these storage options from the next transfer on."""
        with self._lock:
            self._options = options
            if self._process is not None:  # it has nothing to do just now
                self._process.kill()
                self._process.wait()
                self._process = None

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
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, self._program, "transfer"],
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
