"""A process on a pseudo-terminal, as somebody would sit in front of it."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

LONGEST_S = 240.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
# Makes the pseudo-terminal the process's own, so that Ctrl-C typed there reaches it.
SIT_DOWN = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, *words: str, **environ: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        env |= {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1", **environ}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SIT_DOWN, *words],
            stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.said, self._decoder = "", codecs.getincrementaldecoder("utf-8")()  # a read may end within a letter

    def read(self, until: Callable[[str], bool], longest_s: float = LONGEST_S) -> str:
        """What it has said once that is as wanted, or it has ended."""
        end = time.monotonic() + longest_s
        while not until(self.said) and time.monotonic() < end:
            if select.select([self.ours], [], [], 0.5)[0]:
                try:
                    self.said += self._decoder.decode(os.read(self.ours, 65536))
                except OSError:  # nobody has the other end open any more
                    break
        return self.said

    def type(self, text: str) -> None:
        """What somebody types; ``\\x03`` is Ctrl-C."""
        os.write(self.ours, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
