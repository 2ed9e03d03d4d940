"""Tasks' whole life in a real Airflow: its processes are killed, its people change their minds, its clocks run out.

The clouds' own log is the judge: one launch for each job, and no machine left. Only with ``TEST_LIFE=all``, since it
takes its time (test_survival.py has a few of the events); with ``TEST_STORE=postgres`` Airflow's own tables are on
PostgreSQL, too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.airflow_server import AirflowServer
from sky_core.store import Store
from tests.conftest import STORE, until

INTEREST_TTL_S = 6.0
asked = pytest.mark.skipif(os.environ.get("TEST_LIFE") != "all", reason="TEST_LIFE=all asks for it")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), asked]


@pytest.fixture(scope="module")
def airflow(world, request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("airflow-home")
    (world.home / "config.toml").write_text(f"interest_ttl_s = {INTEREST_TTL_S}\n")
    database = request.getfixturevalue("postgres").database() if STORE == "postgres" else None
    dags = Path(__file__).parent / "dags"
    with AirflowServer(folder, dags=dags, environment=world.environ, database=database) as server:
        yield server


@pytest.fixture
def store(world):
    return Store(world.settings.store_url)


class Life:
    """One run of a DAG with one task, whose job has begun to work."""

    def __init__(self, world, airflow, store, name):
        self.world, self.airflow, self.store, self.name = world, airflow, store, name
        self.before = {job.id for job in store.jobs()}
        self.run = airflow.trigger(f"ticking_{name}")
        self.job = self.working()

    def working(self):
        """The newest job of the task, once its log has come so far; where time runs out anyway, once it is there."""
        short = self.name.startswith(("brief", "short"))

        def found():
            mine = [job for job in self.store.jobs() if job.task == self.name and job.id not in self.before]
            return next((job for job in mine if short or b"tick 5\n" in self.store.log(job.id)), None)

        return until(found)

    @property
    def path(self):
        return f"/dags/ticking_{self.name}/dagRuns/{self.run}"

    def api(self, method, more="", **said):
        return self.airflow.api(method, f"{self.path}{more}", **({"json": said} if said else {}))

    def kill_worker(self):
        os.kill(int((self.world.home / f"{self.name}.pid").read_text()), signal.SIGKILL)

    def kill_supervisor(self):
        """What runs the task for Airflow; the task's process outlives it, and nobody reads its log any more."""
        task = int((self.world.home / f"{self.name}.pid").read_text())
        os.kill(int(Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)

    def away(self, component, *, kill, seconds=0.0):
        """One of Airflow's processes ends, and comes back."""
        self.airflow.stop(component, kill=kill)
        time.sleep(seconds)
        self.airflow.start(component)
        self.airflow.await_health()

    def end(self):
        return self.airflow.wait(f"ticking_{self.name}", self.run)

    def ended(self, job=None):
        """A job once it is over, as the store and the clouds tell; no machine is left then."""
        found = until(lambda: (now := self.store.job((job or self.job).id)).over and now)
        assert len(self.world.launches(found.id)) == 1 or (found.attempt == 0 and found.state == "cancelled")
        assert self.world.live() == []
        return found


def pause(life):
    """Paused until the job is over: a paused DAG's deferred task is taken up again once it is not."""
    life.airflow.api("PATCH", f"/dags/ticking_{life.name}", json={"is_paused": True})
    life.ended()
    life.airflow.api("PATCH", f"/dags/ticking_{life.name}", json={"is_paused": False})


def delete(life):
    """Airflow deletes no run that goes on; so it is failed first."""
    life.api("PATCH", state="failed")
    life.api("DELETE")


def mark(state):
    return lambda life: life.api("PATCH", f"/taskInstances/{life.name}", new_state=state)


# What a task outlives: it succeeds, with the job that it had.
OUTLIVED: list[tuple[str, Callable[[Life], Any], tuple[str, ...]]] = [
    ("triggerer killed", lambda life: life.away("triggerer", kill=True), ("deferred",)),
    ("worker killed", Life.kill_worker, ("blocking",)),
    ("supervisor killed", Life.kill_supervisor, ("blocking",)),
    ("triggerer ended", lambda life: life.away("triggerer", kill=False), ("deferred",)),
    ("scheduler killed", lambda life: life.away("scheduler", kill=True), ("deferred", "blocking")),
    ("API server away", lambda life: life.away("api-server", kill=True, seconds=5), ("deferred", "blocking")),
    ("DAG processor killed", lambda life: life.away("dag-processor", kill=True), ("deferred",)),
    ("paused", pause, ("deferred", "blocking")),
]
# What ends a task: its job is cancelled.
ENDING: list[tuple[str, Callable[[Life], Any], tuple[str, ...]]] = [
    ("marked failed", mark("failed"), ("long", "last")),
    ("marked success", mark("success"), ("long", "last")),
    ("run failed", lambda life: life.api("PATCH", state="failed"), ("long", "last")),
    ("run deleted", delete, ("long", "last")),
    ("execution_timeout", lambda life: None, ("brief_deferred", "brief_blocking")),
    ("dagrun_timeout", lambda life: None, ("short_deferred", "short_blocking")),
    ("worker killed without retries", Life.kill_worker, ("last",)),
]


def rows(table):
    return [pytest.param(event, kind, id=f"{name}-{kind}") for name, event, kinds in table for kind in kinds]


@pytest.mark.parametrize(("event", "kind"), rows(OUTLIVED))
def test_outlived(world, airflow, store, event, kind):
    life = Life(world, airflow, store, kind)
    event(life)
    assert life.end() == "success"
    assert life.ended().state == "succeeded"
    assert {job.id for job in store.jobs()} - life.before == {life.job.id}


@pytest.mark.parametrize(("event", "kind"), rows(ENDING))
def test_ended(world, airflow, store, event, kind):
    life = Life(world, airflow, store, kind)
    event(life)
    assert life.ended().state == "cancelled"


@pytest.mark.parametrize("kind", ["deferred", "blocking"])
def test_cleared(world, airflow, store, kind):
    """The old job is ended, and the new try has one of its own."""
    life = Life(world, airflow, store, kind)
    body = {"dry_run": False, "task_ids": [kind], "dag_run_id": life.run, "only_running": False, "only_failed": False}
    airflow.api("POST", f"/dags/ticking_{kind}/clearTaskInstances", json=body)
    life.before.add(life.job.id)
    second = life.working()
    assert life.end() == "success"
    assert life.ended(second).state == "succeeded"
    assert life.ended().state == "cancelled"
