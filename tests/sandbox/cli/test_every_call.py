"""Every command and option, with and without a terminal: its exit code, what it says, no table wider than it may be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sky_core.config import Settings
from sky_core.store import Store
from sky_sandbox import client
from tests.terminal import ESCAPES, Terminal
from tests.unit.cli.calls import DOING, LOOKING, Call, read
from tests.unit.cli.few_jobs import RUN, fill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PLAIN = "name: t\nresources: {infra: aws/us-east-1, instance_type: m5.large}\nhours: 0.1\n"
PILOT = "resources:\n  infra: aws/us-east-1\n  cpus: 4+\nrun: echo hello\n"
GO = PLAIN.replace("name: t", "name: go") + (
    'envs: {A: "2", B: ""}\nsecrets: [S]\noutputs: {x: {size_gb: 0.001}}\nrun: echo $A s $B; echo out > $SKY_OUTPUT_X\n'
)
TRACE = '{"metadata": {"gap_seconds": 600}, "data": [1, 1, 1]}'


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty home, and a folder with the files that the calls name."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "home").mkdir()
    files = {"t.yaml": PLAIN + "run: echo\n", "pilot.yaml": PILOT, "env": "B=2\n", "trace.json": TRACE, "go.yaml": GO,
             "stay.yaml": PLAIN.replace("name: t", "name: stay") + "run: sleep 3000\n"}  # fmt: skip
    for name, text in files.items():
        (here / name).write_text(text)
    monkeypatch.chdir(here)
    return here


def piped(which: str) -> str:
    command = [sys.executable, "-m", "tests.unit.cli.calls", which, "80"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    return done.stdout + done.stderr if done.returncode else done.stdout + _spread(done.stderr)


def _spread(complaints: str) -> str:
    """What went to standard error, as a last call's."""
    return f"@@ stderr\n{complaints}\n@@ ended 0\n"


def on_terminal(which: str, width: int) -> str:
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}  # its own size
    terminal = Terminal("-m", "tests.unit.cli.calls", which, str(width), **environ)
    try:
        return ESCAPES.sub("", terminal.read(lambda text: False, longest_s=1500))
    finally:
        terminal.close()


def wrong(said: str, calls: tuple[Call, ...], width: int | None) -> list[str]:
    """What is not as it should be."""
    made = {line: (text, code) for line, text, code in read(said)}
    complaints = made.pop("stderr", ("", 0))[0]
    found = []
    for call in calls:
        text, code = made.get(call.line, ("", -1))
        if code != call.code:
            found.append(f"{call.line}: exit code {code}: {text[-300:]} {complaints[-500:] if width is None else ''}")
        elif " ".join(call.says.split()) not in " ".join((text + complaints).split()):
            found.append(f"{call.line}: does not say {call.says!r}: {text[-300:]}")
        elif width and call.table and any(len(line.rstrip()) > width for line in text.splitlines()):
            found.append(f"{call.line}: wider than {width}: {text[-300:]}")
        elif "Traceback" in text:
            found.append(f"{call.line}: {text[-300:]}")
    return found


class TestLooking:
    @pytest.fixture(autouse=True)
    def _store(self, folder, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
        home = Path(os.environ["SKYLOOM_HOME"])
        (home / "config.toml").write_text("[clouds.aws]\nenabled = true\n")
        store = Store(Settings.load().store_url)
        monkeypatch.setenv("JOB", fill(store)[0].id)
        monkeypatch.setenv("RUN", RUN)
        store.close()

    def test_piped(self):
        assert not (found := wrong(piped("looking"), LOOKING, None)), "\n".join(found)

    @pytest.mark.parametrize("width", [60, 80, 100, 200])
    def test_on_a_terminal(self, width):
        assert not (found := wrong(on_terminal("looking", width), LOOKING, width)), "\n".join(found)


class TestDoing:
    @pytest.fixture(autouse=True)
    def _sandbox(self, folder, monkeypatch):
        monkeypatch.setenv("SKYLOOM_PROFILE", "sandbox")
        yield
        client.down(Path(os.environ["SKYLOOM_HOME"]))

    def test_piped(self):
        assert not (found := wrong(piped("doing"), DOING, None)), "\n".join(found)

    def test_on_a_terminal(self):
        assert not (found := wrong(on_terminal("doing", 100), DOING, 100)), "\n".join(found)
