"""Machines without public addresses, which are reached through a bastion and from nowhere else."""

from __future__ import annotations

import shutil

import pytest

from sky_sandbox.network.gate import BASTION
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of, small
from tests.sandbox.network.test_moving import PLACES
from tests.sandbox.ssh import greeting

SANDBOX = {"account": "private", "hours_per_second": 0.1}
pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")


@pytest.mark.parametrize("cloud", PLACES)
def test_only_the_bastion_reaches_them(world: Sandbox, tmp_path, cloud) -> None:
    with home_of(world, tmp_path) as home:
        job = home.submit(small(cloud, run="sleep 600", cloud=cloud, **PLACES[cloud]))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        [machine] = [one for one in world.control.machines(live=True) if one["cloud"] == cloud]
        place = (machine["ip"], world.settings.clouds[cloud].ssh_port)
        assert greeting(place, BASTION) == b"SSH-"
        assert greeting(place, "127.0.0.1") == b"", "not from where whoever drives is"
        assert greeting(place, "127.77.200.1") == b"", "nor from elsewhere in their network"
        world.control.account("easy")
        assert greeting(place, "127.0.0.1") == b"", "where it can be reached, the rules let in the bastion only"
        world.control.account()
        home.broker.cancel(job.id, "over")
        home.drive(job)


def test_jobs_of_all_clouds_go_through_it(world: Sandbox, tmp_path) -> None:
    with home_of(world, tmp_path) as home:
        jobs = [home.submit(small(cloud, cloud=cloud, **place), key=cloud) for cloud, place in PLACES.items()]
        assert [job.state for job in home.drive(*jobs)] == ["succeeded"] * 3
    billed = {(entry["cloud"], entry["kind"]) for entry in world.control.ledger()}
    assert {("aws", "machine"), ("gcp", "machine"), ("azure", "machine")} <= billed
    assert not [of for of, kind in billed if kind == "address"], "nobody pays for what no machine had"


def test_without_its_settings_nobody_gets_in(world: Sandbox, tmp_path) -> None:
    settings = {"proxy_command": None, "public_addresses": False, "sources": [f"{BASTION}/32"]}
    with home_of(world, tmp_path, "max_attempts = 1\nboot_timeout_s = 3", network=settings) as home:
        [job] = home.drive(home.submit(small()))
        assert job.state == "failed"
        assert [outcome for outcome, _ in home.outcomes(job)] == ["unreachable"]
