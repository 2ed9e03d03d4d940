"""What carries SSH to a machine where the settings name a command for it, and what its end means.

The command is ``ProxyCommand`` of ssh_config: the shell runs it, and its standard input and output are the connection.
What it says on standard error is the one place where a bastion's name, key or login is told to be wrong.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
from collections import deque

from sky_core.errors import ProxyBroken

SPOKEN_S = 0.5  # for a command whose output has ended to have ended itself
TRY_S = 15.0  # within which a bastion answers, or does not
KEPT_LINES, TOLD_LINES, TOLD_CHARACTERS = 30, 2, 300  # of what it said last
NOT_RUN = (126, 127)  # exit status of a shell that cannot run its command

# What OpenSSH says. The first is the bastion's answer: it works, and has not reached the machine.
BEHIND = re.compile(r"open failed: (connect failed|administratively prohibited|unknown channel type)")
WRONG = re.compile(
    r"Host key verification failed|Permission denied|Too many authentication failures|Bad configuration option"
    r"|Bad port|^usage: |Could not resolve hostname(?!.*(?:[Tt]emporary failure|try again))|Connection to UNKNOWN",
    re.M,
)
AWAY = re.compile(
    r"connect to host .* port|Could not resolve hostname|kex_exchange_identification|banner exchange"
    r"|^Connection (?:closed|reset) by|^Connection to .* closed by remote host|^client_loop: |^Timeout, server",
    re.M,
)


class Proxy:
    """A running command, and the socket that leads through it.

    Args:
        command: With ``%h`` and ``%p`` for address and port, as ssh_config has it.
    """

    def __init__(self, command: str, host: str, port: int) -> None:
        self.wire, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {_filled(command, host, port)}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # without a terminal on which it could ask for a password
            )
        self._said: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, name="proxy", daemon=True)
        self._listener.start()

    def said(self) -> str:
        """The last of what it has said on standard error, or that there is nothing."""
        if lines := list(self._said)[-TOLD_LINES:]:
            return "; ".join(lines)[-TOLD_CHARACTERS:]
        status = self._process.poll()
        return "it says nothing" if status is None else f"exit status {status}"

    def fault(self, *, trial: bool = False) -> ProxyBroken | None:
        """What is wrong with the way itself; None if it stands, or ended for what lies behind it.

        Args:
            trial: Whether nobody needs to be behind it: a bastion that lets nobody through to there works.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SPOKEN_S)
            self._listener.join(SPOKEN_S)
        status, said = self._process.poll(), "\n".join(self._said)
        if status is None:
            return None
        behind = BEHIND.search(said)
        if behind and (trial or behind[1] == "connect failed"):
            return None
        if behind or WRONG.search(said) or status in NOT_RUN:
            return ProxyBroken(self.said(), lasting=True)
        return ProxyBroken(self.said(), lasting=False) if AWAY.search(said) else None

    def close(self) -> None:
        """End the command, whatever it waits for."""
        self.wire.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as heard:
            for line in iter(lambda: heard.readline(4096), b""):
                if text := line.decode(errors="replace").strip():
                    self._said.append(text)
        self._process.wait()


def try_out(command: str) -> None:
    """See whether a command works, with nobody behind it: asked for a bastion's own port, the bastion answers.

    A command other than OpenSSH's that says nothing may be waiting for a machine: nothing is wrong with it.

    Raises:
        ProxyBroken: if it does not.
    """
    proxy = Proxy(command, "127.0.0.1", 22)
    try:
        answered = _has_answered(proxy.wire, TRY_S)
        if answered is None and os.path.basename(command.split()[0]) == "ssh":
            raise ProxyBroken(f"no answer within {TRY_S:.0f} s: {proxy.said()}", lasting=False)
        if not answered and (fault := proxy.fault(trial=True)):
            raise fault
    finally:
        proxy.close()


def _has_answered(wire: socket.socket, limit_s: float) -> bool | None:
    """Whether something has come before the end of the connection; None if neither has in time."""
    wire.settimeout(limit_s)
    try:
        return wire.recv(1) != b""
    except TimeoutError:
        return None
    except OSError:
        return False


def _filled(command: str, host: str, port: int) -> str:
    """The command with its tokens filled in: ssh_config(5), "TOKENS"."""
    known = {"%%": "%", "%h": shlex.quote(host), "%n": shlex.quote(host), "%p": str(port)}
    return re.sub("%[%hnp]", lambda token: known[token[0]], command)
