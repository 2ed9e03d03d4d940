"""What leads to the machines is at fault: nothing is launched for it, and nothing ended that works on without us."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sky_core.clouds import audit
from sky_core.driver.stages import reaching, running
from sky_core.ssh import proxy
from tests.conftest import Sandbox
from tests.sandbox.driving import Home, home_of, small
from tests.sandbox.network.test_bastion import SANDBOX, pytestmark  # noqa: F401 - the same world

REFUSED = "ssh: connect to host bastion port 22: Connection refused"
WRONG = "Host key verification failed."


class Way:
    """A ``proxy_command`` that is the world's bastion, until it is told to say something else."""

    def __init__(self, world: Sandbox, folder: Path) -> None:
        folder.mkdir()
        self._said = folder / "said"
        self.command = str(folder / "ssh") + " %h %p"
        real = world.settings.clouds["aws"].network.proxy_command or ""
        real = real.replace("%h", "$1").replace("%p", "$2")
        script = f"if test -e {self._said}; then cat {self._said} >&2; test -s {self._said} || sleep 60; exit 255; fi"
        (folder / "ssh").write_text(f"#!/bin/sh\n{script}\nexec {real}\n")
        (folder / "ssh").chmod(0o700)

    def says(self, text: str | None) -> None:
        """Nothing at all if that is ""; None: it works."""
        self._said.unlink(missing_ok=True)
        if text is not None:
            self._said.write_text(text)

    def settings(self, world: Sandbox) -> dict[str, object]:
        return {**world.settings.clouds["aws"].network.model_dump(include={"public_addresses", "sources"}),
                "proxy_command": self.command}  # fmt: skip


@pytest.fixture
def way(world: Sandbox, tmp_path: Path) -> Way:
    return Way(world, tmp_path / "way")


def kinds(home: Home, job_id: str) -> list[str]:
    return [event.kind for event in home.store.events(job_id)]


@pytest.mark.parametrize("said", ["ssh: Could not resolve hostname b: Name or service not known", WRONG])
def test_nothing_is_launched_for_a_wrong_setting(world, tmp_path, way, said) -> None:
    way.says(said)
    with home_of(world, tmp_path / "home", network=way.settings(world)) as home:
        begun = time.monotonic()
        [job] = home.drive(home.submit(small(cloud="aws", region=["us-east-1", "us-west-2"], instance_type="t3.small")))
        assert time.monotonic() - begun < 20
        assert job.state == "failed"
        assert not world.launches(job.id)
        assert said in job.result["error"]
        assert "proxy_command in [clouds.aws.network]" in job.result["error"]
        assert [outcome for outcome, _ in home.outcomes(job)] == ["no way in"], "once for the whole cloud"
        assert not home.store.observations(0), "the next job sees for itself"
        way.says(None)
        [next_job] = home.drive(home.submit(small(), key="mended"))
        assert next_job.state == "succeeded"


def test_a_machine_that_cannot_be_reached_is_ended_at_once(world, tmp_path, way) -> None:
    with home_of(world, tmp_path / "home", network=way.settings(world)) as home:
        job = home.submit(small())
        home.drive(job, stop=lambda: world.launches(job.id))
        way.says(WRONG)
        begun = time.monotonic()
        [job] = home.drive(job)
        assert time.monotonic() - begun < 20
        assert job.state == "failed"
        assert len(world.launches(job.id)) == 1
        assert WRONG in job.result["error"]
        assert "security group" not in job.result["error"]


@pytest.mark.parametrize("said", [REFUSED, ""])
def test_a_bastion_that_is_away_for_long_costs_one_launch(world, tmp_path, way, said, monkeypatch) -> None:
    monkeypatch.setattr(reaching, "WAY_PATIENCE_S", 4.0)
    monkeypatch.setattr("sky_core.driver.stages.launch.WAY_PATIENCE_S", 4.0)
    monkeypatch.setattr(proxy, "TRY_S", 1.0)
    monkeypatch.setattr("sky_core.ssh.link.LOGIN_TIMEOUT_S", 1.0)
    with home_of(world, tmp_path / "home", network=way.settings(world)) as home:
        job = home.submit(small())
        home.drive(job, stop=lambda: world.launches(job.id))
        home.driving.ways.clear()
        way.says(said)
        [job] = home.drive(job)
        assert job.state == "failed"
        assert len(world.launches(job.id)) == 1
        assert kinds(home, job.id).count("way cut") == 1, "told at once, and once"
        assert (said or "no answer within") in job.result["error"]
        [nothing] = home.drive(home.submit(small(), key="another"))
        assert nothing.state == "failed"
        assert not world.launches(nothing.id), "it is waited for before, not after"


def test_one_that_is_away_for_a_while_loses_no_job(world, tmp_path, way, monkeypatch) -> None:
    monkeypatch.setattr(running, "LINK_TIMEOUT_S", 2.0)
    with home_of(world, tmp_path / "home", network=way.settings(world)) as home:
        way.says(REFUSED)
        job = home.submit(small(run="sleep 8; echo hi"))
        home.drive(job, stop=lambda: "way cut" in kinds(home, job.id))
        assert not world.launches(job.id)
        way.says(None)
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        way.says(REFUSED)
        home.driving.executors.close()
        ends = time.monotonic() + 10
        home.drive(job, stop=lambda: time.monotonic() > ends)
        way.says(None)
        [done] = home.drive(job)
        assert done.state == "succeeded", done.result
        assert len(world.launches(job.id)) == 1
        assert re.search("way cut.*network back.*succeeded", " ".join(kinds(home, job.id)))


def test_check_and_exec_say_so(world, tmp_path, way) -> None:
    with home_of(world, tmp_path / "home", network=way.settings(world)) as home:
        job = home.submit(small(run="sleep 600"))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        assert enter(home, job.id).returncode == 0
        assert _found(home) == (True, "answers")
        way.says(REFUSED)
        done = enter(home, job.id)
        assert done.returncode == 255
        assert f"proxy_command: {REFUSED}" in done.stderr.replace("\n", " ")
        assert _found(home) == (False, REFUSED)
        home.broker.cancel(job.id, "over")
        home.drive(job)


def enter(home: Home, job_id: str) -> subprocess.CompletedProcess[str]:
    """``skyloom exec``, as the home's user calls it."""
    environ = {**os.environ, "COLUMNS": "300", "SKYLOOM_HOME": str(home.path), "SKYLOOM_PROFILE": "sandbox"}
    environ["SKYLOOM_STORE"] = home.settings.store_url
    command = [sys.executable, "-m", "sky_core.cli", "exec", job_id, "true"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)


def _found(home: Home) -> tuple[bool, str]:
    return next((one.ok, one.says) for one in audit("aws", home.settings, "us-east-1") if one.about == "proxy_command")
