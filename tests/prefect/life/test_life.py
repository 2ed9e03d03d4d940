"""A flow run's whole life: processes are killed and told to end, people cancel and retry, clocks run out.

Each event comes in each phase of the run's one job. The clouds' own log and ledger are the judges: one launch for each
job, and nothing left that is billed. A few rows by default; all of them with ``TEST_LIFE=all``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelling

from sky_core.broker.spawn import ensure_driver, try_lock
from sky_core.store import Store
from tests.conftest import until
from tests.prefect.servers import FAST, SILENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FLOWS = Path(__file__).parent.parent / "flows"
PHASES = ("before", "launching", "running", "publishing")
LIMIT_S = 25.0  # of time-outs: each phase is reached by then, and held for longer


class Prefect:
    """A work pool of the server's, and its worker."""

    def __init__(self, world, server):
        self.server = server
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_PREFETCH_SECONDS": "1"}
        self.environment = {**os.environ, **world.environ, **self.server.variables, **quick}

    @contextmanager
    def deployed(self) -> Iterator[None]:
        with temporary_settings({PREFECT_API_URL: self.server.variables["PREFECT_API_URL"]}):
            with get_client(sync_client=True) as client:
                client.create_work_pool(WorkPoolCreate(name="life", type="process"))
            for name in ("living", "limited"):
                found = flow.from_source(source=str(FLOWS), entrypoint=f"living.py:{name}")
                found.deploy(name="life", work_pool_name="life", print_next_steps=False)
            self.start_worker()
            yield
        self.worker.terminate()
        try:
            self.worker.wait(30)
        except subprocess.TimeoutExpired:  # it may wait for the end of a flow run that is over
            self.worker.kill()
            self.worker.wait()

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "life", "--type", "process"]
        self.worker = subprocess.Popen(command, env=self.environment, **SILENT)

    def command(self, *words: str) -> None:
        done = subprocess.run([sys.executable, "-m", "prefect", *words], env=self.environment, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def as_the_ui_does(self, run: Any, **state: str) -> None:
        """What the UI's buttons send."""
        assert self.post(f"flow_runs/{run}/set_state", {"state": state})["status"] == "ACCEPT"

    def post(self, path: str, content: Any) -> Any:
        """What the server answers."""
        request = urllib.request.Request(
            f"{self.server.variables['PREFECT_API_URL']}/{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)


@pytest.fixture(scope="module")
def prefect(world, prefect_server):
    made = Prefect(world, prefect_server)
    with made.deployed():
        yield made


class Life:
    """One run of a flow, its job brought to a phase and held there."""

    def __init__(self, world, prefect, phase, name="living", environment=None, **parameters):
        self.world, self.prefect = world, prefect
        self.store = Store(world.settings.store_url)
        self.stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(dir=FAST))
        self.folder.chmod(0o777)  # machines have users of their own
        self.before = {job.id for job in self.store.jobs()}
        getattr(self, f"_hold_{phase}")()
        given = {"folder": str(self.folder), **parameters}
        variables = {"env": environment or {}}
        self.run = run_deployment(f"{name}/life", parameters=given, timeout=0, job_variables=variables).id
        getattr(self, f"_until_{phase}")()

    def jobs(self):
        return [job for job in self.store.jobs() if job.id not in self.before]

    def _told(self, kind, **about):
        """The job, once an event of its has told so."""

        def told():
            return any(
                event.kind == kind and about.items() <= event.data.items()
                for job in self.jobs() for event in self.store.events(job.id)
            )  # fmt: skip

        until(told)

    def _hold_before(self):
        lock = until(lambda: try_lock(self.world.settings))  # as long as we have it, there is no driver
        self.stack.callback(ensure_driver, self.world.settings)  # the flow may have gone, and its host has other users
        self.stack.callback(os.close, lock)

    def _until_before(self):
        until(self.jobs)

    def _hold_launching(self):
        self.world.control.fault("aws", "RunInstances", "slow", seconds=10.0)

    def _until_launching(self):
        self._told("launching")

    def _hold_running(self):
        pass

    def _until_running(self):
        until(lambda: any(b"tick" in self.store.log(job.id) for job in self.jobs()))

    def _hold_publishing(self):
        self.stack.callback(self.world.control.storage_outage, "", 0.0)

    def _until_publishing(self):
        self._until_running()
        self.world.control.storage_outage("", 600.0)
        self.enough()
        self._told("phase", phase="outputs")

    def enough(self):
        """Let the task's function end."""
        (self.folder / "enough").touch()

    @property
    def process(self):
        """The flow's process."""
        return psutil.Process(int((self.folder / "pid").read_text()))

    @property
    def state(self):
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.run).state

    def end(self, *types):
        """The final state's name, once it is one of those types and the jobs are over; nothing is left of them."""
        self.stack.close()
        state = until(lambda: (now := self.state) and now.type.value in types and now)
        until(lambda: all(job.over for job in self.jobs()))
        for job in self.jobs():
            assert len(self.world.launches(job.id)) <= 1
        assert self.world.live() == []
        assert self.world.control.ledger(open_only=True) == []
        self.said = state.message
        return state.name

    # Events.

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """kill -9 of the flow's process; its worker notices, and is done with it.

        A worker reports a crash twice, some seconds apart. Its second report would end a run that is retried between.
        """
        self.process.kill()
        until(lambda: self.state.is_crashed())
        told = {"event": {"name": ["prefect.worker.executed-flow-run"]}}
        related = {"related": {"id": [f"prefect.flow-run.{self.run}"]}}
        until(lambda: self.prefect.post("events/filter", {"filter": {**told, **related}})["events"])

    def retry_by_command(self):
        self.kill()
        self.prefect.command("flow-run", "retry", str(self.run))

    def retry_in_the_ui(self):
        self.kill()
        self.prefect.as_the_ui_does(self.run, type="SCHEDULED", name="AwaitingRetry")

    def kill_worker(self):
        self.prefect.worker.kill()
        self.prefect.worker.wait()
        self.prefect.start_worker()

    def evict(self):
        """What becomes of a pod that is taken away with notice, as ``prefect flow-run execute`` sees to it."""
        self.prefect.worker.kill()
        self.prefect.worker.wait()
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.run, AwaitingRetry(), force=True)
        process = self.process
        process.terminate()
        until(lambda: not process.is_running())
        self.prefect.start_worker()

    def kill_server(self):
        self.prefect.server.kill()
        self.prefect.server.start()

    def cancel_by_the_api(self):
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(self.run, Cancelling())

    def cancel_in_the_ui(self):
        self.prefect.as_the_ui_does(self.run, type="CANCELLING", name="Cancelling")


@pytest.fixture
def live(world, prefect):
    lives = []

    def begin(*args, **kwargs):
        lives.append(Life(world, prefect, *args, **kwargs))
        return lives[-1]

    yield begin
    for life in lives:
        life.stack.close()
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            life.process.kill()
        shutil.rmtree(life.folder)
    world.control.clear_faults()


def rows(table: list[tuple[str, Any, tuple[str, ...]]], some: set[str]) -> list[Any]:
    every = os.environ.get("TEST_LIFE") == "all"
    ids = [(f"{name}-{phase}", event, phase) for name, event, phases in table for phase in phases]
    return [pytest.param(event, phase, id=id) for id, event, phase in ids if every or id in some]


Event = Callable[[Life], Any]
# What a flow run outlives: it ends well, with the one job that it had.
OUTLIVED: list[tuple[str, Event, tuple[str, ...]]] = [
    ("flow killed, retried by command", Life.retry_by_command, PHASES),
    ("flow killed, retried in the UI", Life.retry_in_the_ui, ("running",)),
    ("worker killed", Life.kill_worker, PHASES),
    ("server killed", Life.kill_server, PHASES),
]
# What ends it: its job is cancelled.
ENDING: list[tuple[str, Event, tuple[str, ...]]] = [
    ("SIGINT", lambda life: life.signal(signal.SIGINT), PHASES),
    ("SIGTERM", lambda life: life.signal(signal.SIGTERM), PHASES),
    ("cancelled by the API", Life.cancel_by_the_api, PHASES),
    ("cancelled in the UI", Life.cancel_in_the_ui, PHASES),
]
SOME = {
    "flow killed, retried by command-running",
    "cancelled in the UI-launching",
}


def goes_on(life: Life, event: Event) -> None:
    """The run ends well after the event, with the one job that it had."""
    event(life)
    life.enough()
    assert life.end("COMPLETED", "FAILED", "CRASHED", "CANCELLED") == "Completed", life.said
    (job,) = life.jobs()
    assert job.state == "succeeded"
    assert len(life.world.launches(job.id)) == 1


@pytest.mark.parametrize(("event", "phase"), rows(OUTLIVED, SOME))
def test_outlived(live, event, phase):
    goes_on(live(phase), event)


@pytest.mark.parametrize(("event", "phase"), rows([("pod evicted", Life.evict, PHASES)], SOME))
def test_evicted(live, event, phase):
    goes_on(live(phase, environment={"PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule"}), event)


@pytest.mark.parametrize(("event", "phase"), rows(ENDING, SOME))
def test_ended(live, event, phase):
    life = live(phase)
    event(life)
    until(lambda: life.state.is_final())  # what is held is let go only then
    life.end("CANCELLED", "CRASHED")
    (job,) = life.jobs()
    assert job.state == "cancelled"


@pytest.mark.parametrize(("limit", "phase"), rows([("task", "living", PHASES), ("flow", "limited", PHASES)], SOME))
def test_timed_out(live, limit, phase):
    life = live(phase, limit, **({"limit_s": LIMIT_S} if limit == "living" else {}))
    until(lambda: life.state.is_final())
    assert life.end("FAILED") == "TimedOut"
    (job,) = life.jobs()
    assert job.state == "cancelled"
