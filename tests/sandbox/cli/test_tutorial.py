"""The tutorial, letter for letter: its commands in one shell, in an empty folder, and what it says of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sky_sandbox import client

pytestmark = pytest.mark.slow
TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorial.md"
LONGEST_S = 900  # on a busy machine; alone it takes one minute
STEP = "=== step"


def steps() -> list[str]:
    """The commands of each section."""
    return re.findall(r"```console\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)


@pytest.mark.timeout(LONGEST_S + 60)
def test_its_commands_do_what_it_says(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    folder.mkdir()
    script = "set -e\n" + "".join(f"echo '{STEP}'\n{step}" for step in steps())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PATH": path, "SKYLOOM_HOME": str(home), "COLUMNS": "120"}, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = shell.communicate(timeout=LONGEST_S)
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)  # the command that hangs, too
        client.down(home)
    assert shell.returncode == 0, said[-3000:]
    _, up, plan, run, looks, dry, left = said.split(STEP)
    assert "the sandbox runs" in up
    assert "Plan of hello" in plan
    assert "train | the sum is 5050" in run
    assert re.search(r"bill: \$\d+\.\d\d", run)
    assert len(re.findall(r"^ job-\w+ ", looks, re.MULTILINE)) == 2
    assert "the sum is 5050" in looks
    assert "us-east-1a m5.large (on-demand) refused (capacity)" in dry
    assert dry.count("it ran all the same") == 2, "followed, and in the log afterwards"
    assert "stopped" in left
