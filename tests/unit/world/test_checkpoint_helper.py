"""The helper for training loops: killed at random moments, damaged, evicted, and as it comes to machines."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from sky_core import checkpoint
from sky_core.checkpoint import VALUE, Checkpoints, interval
from sky_core.remote import bundle
from sky_core.remote.agent.job import BROUGHT
from tests.conftest import until


def test_kept_whole_and_the_last_few_only(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    assert kept.load("new") == "new"
    for step in range(5):
        kept.save({"step": step})
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["state-00000004", "state-00000005"]
    assert Checkpoints(tmp_path).load() == {"step": 4}
    assert Checkpoints(tmp_path, name="other").load() is None
    with pytest.raises(ZeroDivisionError), kept.writing() as folder:  # noqa: PT012 - the block is what is tested
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert Checkpoints(tmp_path).load() == {"step": 4}
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    "damage", [lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.unlink(), lambda p: p.write_bytes(b"\0" * 20)]
)
def test_a_damaged_generation_is_skipped_with_a_warning(tmp_path, damage):
    kept = Checkpoints(tmp_path)
    kept.save("old")
    kept.save("new")
    damage(tmp_path / "state-00000002" / VALUE)
    with pytest.warns(UserWarning, match="state-00000002 is skipped"):
        assert kept.load() == "old"
    kept.save("newer")
    assert kept.load() == "newer"


def test_killed_at_fifty_random_moments_it_goes_on_where_it_was(tmp_path):
    """Each child saves as fast as it can; what is read afterwards is whole and never older than what was read."""

    def train(target):
        kept = Checkpoints(tmp_path, keep=2)
        step, numbers = kept.load((0, random.Random(7)))
        while step < target:
            numbers.random()
            step += 1
            kept.save((step, numbers))

    chance, seen = random.Random(1), 0
    for _ in range(50):
        child = os.fork()
        if child == 0:
            train(10**9)
        before = set(os.listdir(tmp_path))
        until(lambda before=before: set(os.listdir(tmp_path)) - before)  # it has begun a new one
        time.sleep(chance.uniform(0.0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        step, numbers = Checkpoints(tmp_path).load((0, random.Random(7)))
        assert step >= seen
        seen = step
    undisturbed = random.Random(7)
    for _ in range(seen):
        undisturbed.random()
    assert seen > 0
    assert numbers.random() == undisturbed.random()


def test_when_the_next_one_is_due(tmp_path, monkeypatch):
    now, notice = [1000.0], tmp_path / "notice"
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("SKY_EVICTION_FILE", str(notice))
    kept = Checkpoints(tmp_path / "kept", failure_hours=2, stall=0.01)
    assert not kept.due()
    now[0] += 60
    assert kept.due()
    with kept.writing():
        now[0] += 10  # it takes ten seconds
    assert not kept.due()
    now[0] += 999
    assert not kept.due(), "a hundredth of the time at most"
    now[0] += 1
    assert kept.due()
    kept.save(1)
    notice.touch()
    assert (kept.due(), kept.evicted) == (True, True)
    kept.save(2)
    assert not kept.due(), "the last one is saved"


def test_the_interval_is_daly_s():
    # Young: sqrt(2 * 60 s * 24 h); Daly's terms take it from 3220 s to 3180 s.
    assert interval(60.0, 86400.0, 1.0) == pytest.approx(3180, abs=2)
    assert interval(1e6, 3600.0, 1.0) == 1e6


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    kept = Checkpoints(tmp_path)
    kept.save("x")
    with kept.writing() as folder:
        (folder / "shard").write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("installed", [True, False])
def test_it_comes_with_the_agent_and_hides_nothing(tmp_path, installed):
    """A script finds it beside the agent; where Skyloom is installed all of that stays to be found."""
    name, content = bundle.agent()
    (tmp_path / name).write_bytes(content)
    script = "import sky_core.checkpoint as c; print(c.Checkpoints('x').load(5))"
    if installed:
        script += "; import sky_core; from sky_core import Task; print(Task.__name__, sky_core.__file__)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / name / BROUGHT)}
    python = [sys.executable, *([] if installed else ["-S"])]
    done = subprocess.run([*python, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split()[:2] == (["5", "Task"] if installed else ["5"]), done.stderr


def test_a_driver_on_a_machine_sends_the_same_agent(tmp_path):
    """A flow that runs on one of our machines may launch others, by the Skyloom that is installed there."""
    name, content = bundle.agent()
    (tmp_path / name).write_bytes(content)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / name / BROUGHT)}
    script = "from sky_core.remote import bundle; print(bundle.agent()[0])"
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == name, done.stderr
