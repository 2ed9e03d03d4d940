"""What serves beside a task's command is started again when it ends, and not for ever."""

from __future__ import annotations

import sys

import pytest

from sky_core.remote.agent.engines import running
from sky_core.remote.agent.engines.base import Node, Service
from sky_core.remote.agent.engines.ray import Ray


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets forward."""
    now = [1000.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    return now


def ended(service: running.Running) -> None:
    service._process.wait(60)
    service.keep()


def service_of(tmp_path, script: str) -> running.Running:
    return running.Running(Service("Some worker", [sys.executable, "-c", script]), {}, str(tmp_path))


def test_one_that_ends_at_once_is_tried_ever_less_often_and_then_named(clock, tmp_path, capfd):
    service = service_of(tmp_path, "print('no such memory'); raise SystemExit(3)")
    waits = []
    for _ in range(running.TRIES - 1):
        ended(service)
        waits.append(service._again_at - clock[0])
        service.keep()  # not yet
        clock[0] = service._again_at
        service.keep()
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    with pytest.raises(running.Ended, match=r"ended 8 times in a row, with exit code 3: .* in the log"):
        ended(service)
    assert capfd.readouterr().out.count("no such memory") == running.TRIES


def test_one_that_had_been_running_is_started_as_soon_again(clock, tmp_path):
    service = service_of(tmp_path, "raise SystemExit(1)")
    for _ in range(3 * running.TRIES):
        service._process.wait(60)
        clock[0] += running.STEADY_S
        ended(service)
        assert service._again_at - clock[0] == running.AGAIN_S
        clock[0] = service._again_at
        service.keep()
    service.end()


@pytest.mark.parametrize("has_client", [True, False])
def test_rays_head_serves_programs_elsewhere_where_it_has_what_they_need(tmp_path, has_client):
    for name, code in (("ray", 0), ("python3", 0 if has_client else 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    node = Node("ray", {"ready_s": 300}, 0, ["10.0.0.1", "10.0.0.2"], 0, [1, 2, 3, 4], 4, "/f", "/w", str(tmp_path))
    (head,) = Ray(node).services()
    assert ("--ray-client-server-port" in head.command) == has_client
