"""A look at a job over SSH: the shell says what the agent would, and no Python starts while all is well."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sky_core.remote.agent import commands
from sky_core.remote.agent.job import Place
from sky_core.remote.agent.state import State
from sky_core.remote.ssh_executor import LOOK

NOBODY = b"the agent was asked\n"


class Machine:
    """A user's home on which one attempt runs, led by this process."""

    def __init__(self, home: Path) -> None:
        self.home, self.place = home, Place.of("job", 1)
        self.place.folder.mkdir(parents=True)
        self.state = State(self.place.state)
        self.state.begin(os.getpid())
        self.place.log.write_bytes(b"all is\nwell\n")
        self.place.lease.touch()
        os.utime(self.place.lease, (0, 0))

    def look(self, shell: str, offset: int, part: int = 100) -> bytes:
        """What the driver hears."""
        script = LOOK.format(folder=".skyloom/jobs/job/1", offset=offset, part=part) + "echo the agent was asked"
        return subprocess.run([shell, "-c", script], cwd=self.home, check=True, stdout=subprocess.PIPE).stdout


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return Machine(tmp_path)


shells = pytest.mark.parametrize("shell", ["sh", "bash"])


@shells
@pytest.mark.parametrize("offset", [-1, 0, 7, 12, 100])
def test_it_says_what_the_agent_says(machine, shell, offset):
    machine.state.change(detail='odd: "\\n" \\ $HOME `true` * ü')
    told, log = machine.look(shell, offset).split(b"\n", 1)
    asked, its_log = commands.poll("job", 1, offset).split(b"\n", 1)
    assert (json.loads(told), log) == (json.loads(asked), its_log)


@shells
def test_it_renews_the_lease_and_sends_a_part_at_most(machine, shell):
    told, log = machine.look(shell, 4, part=5).split(b"\n", 1)
    assert (json.loads(told)["log_size"], log) == (12, b"is\nwe")
    assert machine.place.lease.stat().st_mtime > 0


@shells
@pytest.mark.parametrize("change", ["another boot", "another process", "none", "older agent", "no job"])
def test_the_agent_is_asked_where_its_supervisor_does_not_live(machine, shell, change):
    boot, pid, started = machine.place.supervisor.read_text().split()
    if change in ("older agent", "no job"):
        machine.place.supervisor.unlink()
    else:
        about = {
            "another boot": ("x", pid, started),
            "another process": (boot, pid, "1"),
            "none": (boot, "4194305", started),
        }
        machine.place.supervisor.write_text(" ".join(about[change]) + "\n")
    if change == "no job":
        for file in machine.place.folder.iterdir():
            file.unlink()
        machine.place.folder.rmdir()
    assert machine.look(shell, 0) == NOBODY
    assert change == "no job" or machine.place.lease.stat().st_mtime == 0


def test_a_dead_supervisor_that_nobody_has_taken_leave_of_does_not_live(machine):
    with subprocess.Popen(["sleep", "0.1"]) as child:
        machine.state.begin(child.pid)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert machine.look("sh", 0) == NOBODY
