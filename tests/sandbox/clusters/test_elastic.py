"""An elastic gang grows, loses all its spot machines at once, and grows again, while its command goes on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from sky_core import Elastic, Resources, Task
from sky_core.config import Limits
from sky_core.driver.gangs import fleet
from tests.conftest import until
from tests.crash import judge
from tests.sandbox.driving import driven_by_mortals, home_of

pytestmark = pytest.mark.slow
HOURS_PER_SECOND = 0.02
SANDBOX = {"hours_per_second": HOURS_PER_SECOND, "boot_s": 0.5, "aws_notice_s": 2}
EXAMPLES = Path(__file__).parents[3] / "example_flows/elastic"
ZONE, TYPE = "us-east-1a", "m5.large"
OPTIONS = {"dask": {"threads": 1}, "ray": {"num_cpus": 1}}
AWS = {"cloud": "aws", "zone": ZONE, "instance_type": TYPE}
AZURE = {"cloud": "azure", "region": "eastus", "instance_type": "Standard_D2s_v5"}


def task(engine: str, where: Mapping[str, str] = AWS, **envs: object) -> Task:
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])
    about = {"name": engine, **OPTIONS.get(engine, {})}
    return Task(
        name="train", run=f"exec python3 train_{engine.removesuffix('run')}.py", workdir=str(EXAMPLES), hours=2,
        checkpoint=0.02, engine=about, elastic=Elastic(max=4), envs={"PATH": path, **envs},
        resources=Resources(**where),
    )  # fmt: skip


def undisturbed(**envs: object) -> str:
    """What the weights are without any of this."""
    sys.path.insert(0, str(EXAMPLES))
    import numpy as np
    import train_dask

    weights = np.zeros(train_dask.SIZE)
    shards = int(envs["SHARDS"])
    for step in range(int(envs["STEPS"])):
        parts = [train_dask.gradient(weights, step, shard) for shard in range(shards)]
        weights = weights - train_dask.RATE * np.sum(parts, axis=0) / shards
    return weights.tobytes().hex()


def spot(world, job):
    return [m["id"] for m in world.control.machines(live=True, tags={"skyloom-job": job.id}) if m["market"] == "spot"]


def kinds(home, job, kind):
    return [event for event in home.store.events(job.id) if event.kind == kind]


def done(home, job):
    """Steps that the command has reported."""
    return (home.store.job(job.id).memory.get("headway") or {}).get("done", 0)


def check_bill(world, home, job):
    tags = {"skyloom-job": job.id}
    until(lambda: world.control.ledger(open_only=True, tags=tags) == [])
    hours = sum(line.hours for line in home.broker.bill("run").lines)
    assert judge.misbilled(world.control.ledger(tags=tags), hours, HOURS_PER_SECOND) == []
    assert [one for one in home.store.clusters(job_id=job.id) if one.open] == []


@pytest.mark.parametrize("where", [AWS, AZURE], ids=["aws", "azure"])
def test_all_spot_machines_are_lost_at_once_and_no_state_with_them(world, tmp_path, where):
    envs = {"STEPS": 40, "SHARDS": 24, "SECONDS": 0.1}
    with home_of(world, tmp_path) as home:
        job = home.submit(task("dask", where, **envs))
        home.drive(job, stop=lambda: len(kinds(home, job, "node joined")) == 3)
        lost = spot(world, job)
        assert len(lost) == 3
        for machine in lost:
            world.control.kill(machine)
        home.drive(job, stop=lambda: len(kinds(home, job, "node joined")) > 3)
        (job,) = home.drive(job)
        log = home.store.log(job.id).decode()
        assert (job.state, job.attempt) == ("succeeded", 1), (home.store.events(job.id), log)
        assert len(kinds(home, job, "node lost")) == 3
        assert re.findall(r"from step (\d+)", log) == ["0"]
        assert f"weights {undisturbed(**envs | {'SECONDS': 0})}" in log
        check_bill(world, home, job)


def loses_all_spot(world, home, training):
    """Driven to its end, its spot machines killed on the way: its log, at which step that was, and its last start."""
    job = home.submit(training)
    home.drive(job, stop=lambda: done(home, job) >= 20 and " on 4" in home.store.log(job.id).decode())
    before = done(home, job)
    for machine in spot(world, job):
        world.control.kill(machine)
    (job,) = home.drive(job)
    log = home.store.log(job.id).decode()
    assert (job.state, job.attempt) == ("succeeded", 1), (home.store.events(job.id), log)
    starts = [int(step) for step in re.findall(r"from step (\d+)", log)]
    assert starts == sorted(starts)
    check_bill(world, home, job)
    return log, before, starts[-1]


@pytest.mark.skipif(find_spec("torch") is None, reason="not installed: torch")
def test_torch_elastic_goes_on_from_the_reliable_machines_state(world, tmp_path):
    with home_of(world, tmp_path) as home:
        log, _, last = loses_all_spot(world, home, task("torchrun", STEPS=100, SHARDS=12, SECONDS=0.1))
    assert last >= 20
    assert float(re.findall(r"\(rank 0\) error (\d\S*)", log)[-1]) < 0.01


@pytest.mark.skipif(find_spec("ray") is None or find_spec("torch") is None, reason="not installed: ray, torch")
def test_ray_train_goes_on_from_the_state_on_the_reliable_machine(world, tmp_path):
    about = {"STEPS": 150, "SHARDS": 12, "SECONDS": 0.1, "WORKERS": 4, "RESIZE_S": 5}
    with home_of(world, tmp_path) as home:
        log, before, last = loses_all_spot(world, home, task("ray", **about))
    assert last >= before, "no step is lost"
    (steps, error) = re.findall(r"steps (\d+) error (\S+)", log)[-1]
    assert (steps, float(error) < 0.01) == ("150", True)


def test_it_grows_only_as_far_as_there_is_spot_and_gives_back_what_does_not_pay(world, tmp_path, monkeypatch):
    world.control.capacity(ZONE, TYPE, "spot", 1)
    with home_of(world, tmp_path) as home:
        job = home.submit(task("dask", STEPS=400, SHARDS=12, SECONDS=0.1))
        home.drive(job, stop=lambda: kinds(home, job, "node joined") and kinds(home, job, "refused"))
        assert len(spot(world, job)) == 1
        assert len(world.launches(job.id)) == 2, "one was refused, and the third was not asked for"
        world.control.capacity(ZONE, TYPE, "spot", None)
        home.drive(job, stop=lambda: len(kinds(home, job, "node joined")) == 3)
        last = max(home.store.clusters(job_id=job.id, open_only=True), key=lambda one: one.launched_at)
        monkeypatch.setattr(fleet, "wish", lambda step, cluster: fleet.Wish(leaves=_with(step, last.token)))
        home.drive(job, stop=lambda: len(spot(world, job)) == 2)
        assert "given back" in str(kinds(home, job, "node lost")[0])
        assert home.store.job(job.id).state == "running"
        (ended,) = (one for one in home.store.clusters(job_id=job.id) if one.token == last.token)
        assert ended.outcome == "released"
        monkeypatch.undo()
        home.drive(job, stop=lambda: job.id in home.driving.resize_at)
        home.broker.cancel(job.id, "enough")
        (job,) = home.drive(job)
        assert (job.state, home.driving.resize_at) == ("cancelled", {})
        check_bill(world, home, job)


def _with(step, token):
    return [mend for mend in step.mends if mend.token == token]


def test_drivers_that_die_at_every_step_launch_no_machine_twice(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("dask", STEPS=400, SHARDS=12, SECONDS=0.1))
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("phase") == "running")
        driven_by_mortals(home, job, lambda: len(kinds(home, job, "node joined")) == 3)
        assert len(world.launches(job.id)) == 4
        home.broker.cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving())
        assert (job.state, job.attempt) == ("cancelled", 1)
        check_bill(world, home, job)


def test_the_loss_of_the_reliable_machine_begins_the_gang_anew_from_its_checkpoint(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("dask", STEPS=60, SHARDS=24, SECONDS=0.1))
        home.drive(job, stop=lambda: done(home, job) >= 15 and home.store.job(job.id).memory["checkpoint"])
        machines = world.control.machines(live=True, tags={"skyloom-job": job.id})
        (reliable,) = (machine["id"] for machine in machines if machine["market"] != "spot")
        world.control.kill(reliable)
        (job,) = home.drive(job)
        log = home.store.log(job.id).decode()
        assert (job.state, job.attempt) == ("succeeded", 2), log
        assert int(re.findall(r"from step (\d+)", log)[-1]) > 0
        assert f"weights {undisturbed(STEPS=60, SHARDS=24)}" in log
        check_bill(world, home, job)


def test_a_limit_of_money_leaves_the_gang_as_it_is(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("dask", STEPS=20, SHARDS=12, SECONDS=0.1))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        poor = home.settings.model_copy(update={"limits": Limits(usd_per_job=1e-4)})
        (job,) = home.drive(job, driving=home.new_driving(poor))
        assert job.state == "succeeded", home.store.events(job.id)
        assert len(kinds(home, job, "limit")) == 1
        assert len(world.launches(job.id)) == 1
        check_bill(world, home, job)
