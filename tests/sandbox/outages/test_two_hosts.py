"""Two hosts (two homes) with one key on one store: kill -9 of the one whose driver leads, the other one goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sky_core import Artifact
from sky_core.broker import Broker
from sky_core.config import Settings
from sky_core.endpoints import SANDBOX_FILE
from sky_core.planner.market import current_market
from sky_core.remote.keys import TeamKey
from sky_core.store import Job
from tests.conftest import Sandbox, until
from tests.sandbox.jobs.test_broker import submit, task
from tests.sandbox.outages.test_driver_away import WAIT, go

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1, "lease_s": 3}
TICKS = 12
SCRIPT = f"""
test "$A_TOKEN" = "a word" && cat note
for i in $(seq {TICKS}); do echo tick $i; sleep 0.2; done
"""
OUTPUT = """
echo 42 > "$SKY_OUTPUT_DATA"
"""


@dataclass
class Host:
    """One host of a team: a home of its own."""

    environ: dict[str, str]

    @property
    def broker(self) -> Broker:
        return Broker.open(Settings.load(self.environ))

    @contextmanager
    def driver(self) -> Iterator[subprocess.Popen[bytes]]:
        """Its driver as a service, ready."""
        command = [sys.executable, "-m", "sky_core.cli", "driver"]
        said = Path(self.environ["SKYLOOM_HOME"], "service.log")
        with said.open("wb") as log:
            process = subprocess.Popen(command, env={**os.environ, **self.environ}, cwd="/", stderr=log)
        try:
            until(lambda: "driving the jobs" in said.read_text())
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def hosts(world: Sandbox, tmp_path: Path, store_url: str) -> Iterator[list[Host]]:
    key = TeamKey.new().text
    made = []
    for name in ("one", "two"):
        home = tmp_path / name
        (home / SANDBOX_FILE).parent.mkdir(parents=True)
        shutil.copy(world.home / SANDBOX_FILE, home / SANDBOX_FILE)
        made.append(Host({"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox", "SKYLOOM_STORE": store_url,
                          "SKYLOOM_KEY": key}))  # fmt: skip
    yield made
    world.control.reset()


@dataclass(frozen=True)
class Moment:
    """When the leader dies.

    Attributes:
        fault: Call of the cloud that fails meanwhile, so that the moment lasts; None to freeze the machine.
        stores: False if no object store answers once the command runs (it waits for that), so that the moment lasts.
    """

    name: str
    reached: Callable[[Broker, Job], bool]
    fault: str | None = None
    stores: bool = True


def has_event(broker: Broker, job: Job, kind: str) -> bool:
    return any(event.kind == kind for event in broker.store.events(job.id))


MOMENTS = [
    Moment("before the launch", lambda broker, job: has_event(broker, job, "launch unclear"), "RunInstances"),
    Moment("after the launch, before the agent", lambda broker, job: has_event(broker, job, "launched")),
    Moment("running", lambda broker, job: b"tick 3\n" in broker.store.log(job.id)),
    Moment("publishing", lambda broker, job: broker.job(job.id).memory.get("phase") == "outputs", stores=False),
    Moment("closing", lambda broker, job: has_event(broker, job, "terminate failed"), "TerminateInstances"),
]


ALL = [("postgres", moment) for moment in MOMENTS] + [("sqlite", MOMENTS[2])]


@pytest.mark.parametrize(
    ("store_url", "moment"), ALL, ids=lambda value: getattr(value, "name", value), indirect=["store_url"]
)
def test_the_other_host_finishes_the_job_on_the_same_machine(world, hosts, tmp_path, monkeypatch, moment):
    leader, other = hosts
    if moment.fault:
        world.control.fault("aws", moment.fault, "error", code="RequestLimitExceeded", times=100_000)
    with leader.driver() as driver:
        job = submitted(leader.broker, tmp_path, monkeypatch, SCRIPT + ("" if moment.stores else WAIT))
        if not moment.stores:
            until(lambda: b"tick 1\n" in leader.broker.store.log(job.id))
            world.control.storage_outage("", 600)
            go(world)
        until(lambda: moment.reached(leader.broker, job))
        frozen = [] if moment.fault else world.live()
        for machine in frozen:
            world.control.hang(machine)
        with other.driver():
            driver.kill()
            driver.wait()
            world.control.clear_faults()
            world.control.storage_outage("", 0)
            for machine in frozen:
                world.control.hang(machine, False)
            broker = other.broker
            until(lambda: broker.job(job.id).over)
    ended = broker.job(job.id)
    assert ended.state == "succeeded", ended.result
    assert len(world.launches(job.id)) == 1
    lines = broker.store.log(job.id).decode().splitlines()
    assert lines[0] == "from the submitter's folder"
    assert [line for line in lines if line.startswith("tick")] == [f"tick {n}" for n in range(1, TICKS + 1)]
    assert world.live() == []


def submitted(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str = SCRIPT) -> Job:
    """A job whose folder and secret are gone once it is submitted."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "note").write_text("from the submitter's folder\n")
    monkeypatch.setenv("A_TOKEN", "a word")
    work = task("work", script + OUTPUT, secrets=("A_TOKEN",), workdir=str(folder), outputs={"data": Artifact()})
    job = submit(broker, work)
    monkeypatch.delenv("A_TOKEN")
    shutil.rmtree(folder)
    return job


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_host_that_only_watches_goes_on_too(world, hosts, tmp_path, monkeypatch):
    """Nobody runs a service there: whoever waits for the job starts a driver on his own host."""
    leader, other = hosts
    with leader.driver() as driver:
        job = submitted(leader.broker, tmp_path, monkeypatch)
        until(lambda: has_event(leader.broker, job, "started"))
        driver.kill()
        driver.wait()
        assert other.broker.watch(job.id).state == "succeeded"
    assert len(world.launches(job.id)) == 1


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_what_one_host_may_not_another_may(world, hosts, tmp_path, monkeypatch):
    """The credentials of one host have ended: the submitter's host takes the job, and is not blocked."""
    submitter, expired = hosts
    key = "AKIASKYLOOMSANDBOX00EXPIRED"
    endpoints = Path(expired.environ["SKYLOOM_HOME"], SANDBOX_FILE)
    told = json.loads(endpoints.read_text())
    told["clouds"]["aws"]["credentials"]["access_key_id"] = key
    endpoints.write_text(json.dumps(told))
    world.control.fault("aws", "RunInstances", "error", code="RequestExpired", times=100_000, caller=key)
    with expired.driver():
        job = submitted(submitter.broker, tmp_path, monkeypatch)
        until(lambda: has_event(submitter.broker, job, "cloud missing"))
        blocked = [current_market(host.broker.settings, host.broker.store, "p").blocked for host in hosts]
        assert [[block.cloud for block in blocks] for blocks in blocked] == [[], ["aws"]]
        with submitter.driver():
            until(lambda: submitter.broker.job(job.id).over)
    assert submitter.broker.job(job.id).state == "succeeded"
    assert len(world.launches(job.id)) == 1
