"""Commands on a terminal: as wide as it is and no wider, live until Ctrl-C, and the terminal as it was afterwards."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable

import pytest

from sky_core.config import Settings
from sky_core.store import Store
from tests.unit.cli.few_jobs import fill

WIDTHS = (60, 80, 100, 200)
LONGEST_S = 120.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
# One process for all widths, since most of its time is for imports.
AT_EACH_WIDTH = f"""
import fcntl, struct, sys, termios
from sky_core.cli.app import app
for width in {WIDTHS}:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    for words in (["jobs"], ["top", "--once"], ["cost"], ["cost", "--by", "run,task,market"], ["jobs", "--help"]):
        print(f"@{{width}} {{' '.join(words)}}", flush=True)
        app(words, standalone_mode=False)
"""


@pytest.fixture
def home(tmp_path):
    store = Store(Settings.load({"SKYLOOM_HOME": str(tmp_path)}).store_url)
    ids = [job.id for job in fill(store)]
    store.close()
    return tmp_path, ids


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, home: object, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        env |= {"SKYLOOM_HOME": str(home), "TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [sys.executable, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.said, self._decoder = "", codecs.getincrementaldecoder("utf-8")()  # a read may end within a letter

    def read(self, until: Callable[[str], bool]) -> str:
        """What it has said once that is as wanted, or it has ended."""
        end = time.monotonic() + LONGEST_S
        while not until(self.said) and time.monotonic() < end:
            if select.select([self.ours], [], [], 0.5)[0]:
                try:
                    self.said += self._decoder.decode(os.read(self.ours, 65536))
                except OSError:  # nobody has the other end open any more
                    break
        return self.said

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def start(*words: object) -> Terminal:
        opened.append(Terminal(*words))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_no_line_is_wider_than_the_terminal_and_no_id_is_broken(home, terminal):
    folder, ids = home
    said = terminal(folder, "-c", AT_EACH_WIDTH).read(lambda text: False)
    parts = re.split(r"^@(\d+) (.*?)\r?$", ESCAPES.sub("", said), flags=re.MULTILINE)[1:]
    seen = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    assert [(int(width), words) for width, words, _ in seen[::5]] == [(width, "jobs") for width in WIDTHS], said[-2000:]
    for width, words, text in seen:
        lines = [line.rstrip() for line in text.splitlines()]
        assert all(len(line) <= int(width) for line in lines), (width, words)
        if words in ("jobs", "top --once"):
            assert set(re.findall(r"job-\w+", text)) >= set(ids[2:]), (width, words)


def test_top_stays_and_leaves_the_terminal_as_it_was(home, terminal):
    folder, ids = home
    top = terminal(folder, "-m", "sky_core.cli", "top", "--every", "0.2")
    drawn = top.read(lambda text: text.count("an hour now") >= 2)
    assert ids[2] in drawn, "it is drawn"
    assert drawn.count("an hour now") >= 2, "and drawn again"
    os.kill(top.process.pid, signal.SIGINT)
    left = top.read(lambda text: "\x1b[?1049l" in text)
    assert "\x1b[?1049h" in left, "on a screen of its own"
    assert "\x1b[?1049l" in left, "which it gives back"
    assert "Traceback" not in left
    assert top.process.wait(LONGEST_S) == 0
