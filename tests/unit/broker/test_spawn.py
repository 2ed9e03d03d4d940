"""Who notices a driver that hangs, and that one which works is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sky_core.broker import spawn
from sky_core.config import Settings
from tests.conftest import until

HOLDER = """
import sys, time
from sky_core.broker.spawn import sign_of_life, try_lock
from sky_core.config import Settings
settings = Settings.load().model_copy(update={"lease_s": 0.3})
assert try_lock(settings) is not None
with sign_of_life(settings):
    print("holds", flush=True)
    time.sleep(600)
"""


class Sleeper(subprocess.Popen):
    """A driver that hangs before it has shown any life."""

    def __init__(self, command: list[str], **how: object) -> None:
        super().__init__(["sleep", "600"], **how)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    monkeypatch.setattr(spawn, "_shown", {})
    monkeypatch.setattr(spawn, "_started", {})
    monkeypatch.setattr(spawn, "_vain", {})
    return Settings.load().model_copy(update={"lease_s": 0.3})


@pytest.fixture
def holder(settings):
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"holds\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_driver_that_shows_life_is_left_alone(settings, holder):
    end = time.monotonic() + 3 * spawn.HUNG_LEASES * settings.lease_s
    while time.monotonic() < end:
        spawn.ensure_driver(settings)
        time.sleep(0.05)
    assert holder.poll() is None


def test_nobody_is_ended_for_a_driver_that_was_there_before(settings):
    """The next driver has the lock and starts slowly; the number that stands in the file may be anybody's by now."""
    with subprocess.Popen(["sleep", "600"]) as bystander:
        spawn._lock_file(settings).write_text(str(bystander.pid))
        lock = spawn.try_lock(settings)
        assert lock is not None
        end = time.monotonic() + 2 * spawn.HUNG_LEASES * settings.lease_s
        while time.monotonic() < end:
            spawn.ensure_driver(settings)
            time.sleep(0.05)
        os.close(lock)
        assert bystander.poll() is None
        bystander.kill()


def test_one_that_never_comes_to_life_is_ended_too(settings, monkeypatch):
    monkeypatch.setattr(spawn.subprocess, "Popen", Sleeper)
    spawn.ensure_driver(settings)
    ((_, started),) = spawn._started.values()
    end = time.monotonic() + 2 * spawn.HUNG_LEASES * settings.lease_s
    while time.monotonic() < end:
        spawn.ensure_driver(settings)
        time.sleep(0.05)
    assert started.poll() is None, "it may still be importing"
    monkeypatch.setattr(spawn, "START_S", 0.0)
    until(lambda: spawn._end_hung(settings) or started.poll() is not None)
    assert started.returncode == -signal.SIGKILL


def test_one_that_hangs_is_ended(settings, holder):
    os.kill(holder.pid, signal.SIGSTOP)

    until(lambda: spawn._end_hung(settings) or holder.poll() is not None)
    assert holder.returncode == -signal.SIGKILL
    lock = spawn.try_lock(settings)
    assert lock is not None, "the next one can begin"
    os.close(lock)


def test_one_that_cannot_start_is_told_and_started_less_and_less_often(settings, monkeypatch, caplog):
    (settings.home / "config.toml").write_text("spot_policy = [")
    tried: list[list[str]] = []

    class Counted(subprocess.Popen):
        def __init__(self, command: list[str], **how: object) -> None:
            tried.append(command)
            super().__init__(command, **how)

    monkeypatch.setattr(spawn.subprocess, "Popen", Counted)
    monkeypatch.setattr(spawn, "DRIVER_CHECK_S", 600.0)
    until(lambda: spawn.ensure_driver(settings) or spawn._vain)
    for _ in range(5):
        spawn.ensure_driver(settings)
    assert len(tried) == 1
    (told,) = caplog.messages
    assert "config.toml" in told, "the driver's own last words"


def test_threads_that_find_the_same_driver_ended_note_it_once(settings, monkeypatch, caplog):
    together = threading.Barrier(2)

    class Failed:
        returncode = 1

        def poll(self) -> int:
            together.wait(60)
            return self.returncode

    monkeypatch.setattr(spawn, "_started", {1: (spawn._lock_file(settings), Failed())})
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(spawn._reap) for _ in range(2)]:
            done.result()
    assert len(caplog.messages) == 1
    assert not spawn._started
