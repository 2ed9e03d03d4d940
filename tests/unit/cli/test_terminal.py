"""Commands on a terminal: as wide as it is and no wider, live until Ctrl-C, and the terminal as it was afterwards."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sky_core.cli.terminal import new_table, show
from sky_core.config import Settings
from sky_core.store import Store
from tests.conftest import until
from tests.terminal import ESCAPES, LONGEST_S, Terminal
from tests.unit.cli.few_jobs import fill

WIDTHS = (60, 80, 100, 200)
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


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def start(home: object, *words: str) -> Terminal:
        opened.append(Terminal(*words, SKYLOOM_HOME=str(home)))
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
    top.type("\x03")
    left = top.read(lambda text: "\x1b[?1049l" in text)
    assert "\x1b[?1049h" in left, "on a screen of its own"
    assert "\x1b[?1049l" in left, "which it gives back"
    assert "Traceback" not in left
    assert top.process.wait(LONGEST_S) == 0


def test_ui_says_where_it_is_opens_it_and_stays_until_ctrl_c(home, terminal, tmp_path, monkeypatch):
    browser = tmp_path / "bin" / "xdg-open"
    browser.parent.mkdir()
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{browser.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("BROWSER", str(browser))
    pages = terminal(home[0], "-m", "sky_core.cli", "ui", "--port", "0", "--open")
    pages.read(lambda text: "?token=" in text and "\n" in text.partition("?token=")[2])
    address = re.search(r"http://127.0.0.1:\d+/\?token=\S+", ESCAPES.sub("", pages.said))[0]
    until(lambda: (tmp_path / "opened").exists() and address in (tmp_path / "opened").read_text())
    link = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=LONGEST_S)
    link.request("GET", f"/?{urlsplit(address).query}")
    assert link.getresponse().status == 303, "the token moves into a cookie"
    link.close()
    pages.type("\x03")
    assert "stopped; jobs go on" in pages.read(lambda text: "stopped" in text)
    assert pages.process.wait(LONGEST_S) == 0


def test_what_is_piped_is_as_wide_as_it_is_with_a_column_without_a_name_too(capsys):
    table = new_table("job", "")
    table.add_row("job-0123456789abcdef", "")
    show(table)
    assert "job-0123456789abcdef" in capsys.readouterr().out


def test_the_shell_completes_commands():
    skyloom = Path(sys.executable).with_name("skyloom")
    said = subprocess.run(
        ["bash", "-c", f"{skyloom} --show-completion; true"], capture_output=True, text=True, check=True
    )
    assert "complete -o default -F _skyloom_completion skyloom" in said.stdout
    asked = {"_SKYLOOM_COMPLETE": "complete_bash", "COMP_WORDS": "skyloom re", "COMP_CWORD": "1"}
    said = subprocess.run([skyloom], capture_output=True, text=True, check=False, env={**os.environ, **asked})
    assert said.stdout.split() == ["retry"]
