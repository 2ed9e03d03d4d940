"""A work pool of ours: deployments' flow runs on machines of the sandbox, and a worker that is killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from sky_core.store import Store
from sky_prefect.pool import SkyWorker
from sky_prefect.wanting import still_wanted
from tests.conftest import until
from tests.prefect.servers import FAST, SILENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FLOWS = Path(__file__).parent.parent / "flows"
SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1, "environment": None}
CANARY = "canary-of-the-api-0123456789"


class Pool:
    """A work pool, its worker, and flow runs of a deployment in it."""

    def __init__(self, world, server):
        self.world, self.server = world, server
        self.store = Store(world.settings.store_url)
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_PREFETCH_SECONDS": "1"}
        self.environment = {**os.environ, **world.environ, **server, **quick, "PREFECT_API_KEY": CANARY}

    @contextmanager
    def deployed(self):
        with temporary_settings({PREFECT_API_URL: self.server["PREFECT_API_URL"]}):
            template = SkyWorker.get_default_base_job_template()
            with get_client(sync_client=True) as client:
                client.create_work_pool(WorkPoolCreate(name="clouds", type="skyloom", base_job_template=template))
            found = flow.from_source(source=str(FLOWS), entrypoint="whole.py:whole")
            found.deploy(name="pool", work_pool_name="clouds", print_next_steps=False)
            self.start_worker()
            yield self
        self.worker.terminate()
        try:
            self.worker.wait(30)
        except subprocess.TimeoutExpired:
            self.worker.kill()

    def start_worker(self):
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "clouds", "--type", "skyloom"]
        self.worker = subprocess.Popen(command, env=self.environment, **SILENT)

    def jobs(self, run):
        return [job for job in self.store.jobs() if job.key.startswith(f"prefect-pool/{run.id}/")]

    def state(self, run):
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run.id).state

    def ended(self, run):
        """The run's final state, once its jobs are over; nothing of them is left."""
        state = until(lambda: (now := self.state(run)) and now.is_final() and now, 300)
        until(lambda: all(job.over for job in self.jobs(run)), 300)
        assert self.world.live() == []
        assert self.world.control.ledger(open_only=True) == []
        return state


@pytest.fixture(scope="module")
def pool(world, server):
    with Pool(world, server).deployed() as made:
        yield made


@pytest.fixture
def folder():
    made = Path(tempfile.mkdtemp(dir=FAST))
    made.chmod(0o777)  # machines have users of their own
    yield made
    (made / "enough").touch()
    shutil.rmtree(made)


def begun(folder):
    """How many processes of the flow there were."""
    return len([*folder.glob("begun-*")])


def begin(folder, **needs):
    variables = {"resources": {**SMALL, **needs}}
    return run_deployment("whole/pool", parameters={"folder": str(folder)}, timeout=0, job_variables=variables)


def test_a_deployments_run_is_made_on_a_machine(pool, folder):
    run = begin(folder)
    until(lambda: begun(folder), 300)
    (folder / "enough").touch()
    state = pool.ended(run)
    assert state.is_completed(), state.message
    (job,) = pool.jobs(run)
    assert job.state == "succeeded"
    assert len(pool.world.launches(job.id)) == 1
    with get_client(sync_client=True) as client:
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
        assert client.read_flow_run(run.id).infrastructure_pid == job.id
    said = "\n".join(log.message for log in logs)
    assert f"begun on {job.id}" in said
    assert "t3.small" in said
    for kept in pool.world.home.rglob("*"):
        assert not (kept.is_file() and CANARY.encode() in kept.read_bytes()), kept


def test_a_run_is_cancelled_while_it_runs(pool, folder):
    run = begin(folder)
    until(lambda: begun(folder), 300)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert pool.ended(run).is_cancelled()


def test_a_run_is_cancelled_while_its_machine_boots(pool, folder):
    pool.world.control.fault("aws", "RunInstances", "slow", seconds=20.0)
    run = begin(folder)
    until(lambda: any(e.kind == "launching" for job in pool.jobs(run) for e in pool.store.events(job.id)), 300)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelling())
    assert pool.ended(run).is_cancelled()
    pool.world.control.clear_faults()
    assert begun(folder) == 0


def test_a_run_goes_on_where_its_machine_is_taken_away(pool, folder):
    run = begin(folder, use_spot=True)
    until(lambda: begun(folder), 300)
    (machine,) = pool.world.live()
    pool.world.control.preempt(machine)
    until(lambda: begun(folder) == 2, 300)
    (folder / "enough").touch()
    state = pool.ended(run)
    assert state.is_completed(), state.message
    (job,) = pool.jobs(run)
    assert len(pool.world.launches(job.id)) == 2


def test_a_killed_worker_loses_and_repeats_nothing(pool, folder):
    run = begin(folder)
    until(lambda: pool.jobs(run), 300)
    pool.worker.kill()
    pool.worker.wait()
    until(lambda: begun(folder), 300)
    until(lambda: pool.state(run).is_running())
    (interest,) = pool.store.interest_of(pool.jobs(run)[0].id)
    assert still_wanted(interest.how), "whoever follows it"
    pool.start_worker()
    taken = "takes the flow run over"

    def told():
        with get_client(sync_client=True) as client:
            return [log for log in client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
                    if taken in log.message]  # fmt: skip

    until(told, 300)
    (folder / "enough").touch()
    assert pool.ended(run).is_completed()
    (job,) = pool.jobs(run)
    assert len(pool.world.launches(job.id)) == 1
    assert begun(folder) == 1


def test_code_goes_along_as_the_working_folder(pool, folder):
    here = {"prefect.deployments.steps.set_working_directory": {"directory": "."}}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("whole")
        client.create_deployment(
            flow_id, "along", entrypoint="whole.py:whole", work_pool_name="clouds", pull_steps=[here]
        )
    (folder / "enough").touch()
    variables = {"resources": {**SMALL, "workdir": str(FLOWS)}}
    run = run_deployment("whole/along", parameters={"folder": str(folder)}, timeout=0, job_variables=variables)
    state = pool.ended(run)
    assert state.is_completed(), state.message


def test_what_crashed_on_its_machine_is_told(pool, folder):
    absent = {"prefect.deployments.steps.set_working_directory": {"directory": "/no/such/folder"}}
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow_from_name("whole")
        client.create_deployment(
            flow_id, "absent", entrypoint="whole.py:whole", work_pool_name="clouds", pull_steps=[absent]
        )
    run = run_deployment(
        "whole/absent", parameters={"folder": str(folder)}, timeout=0, job_variables={"resources": SMALL}
    )
    assert pool.ended(run).is_crashed()
    shown = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))

    def told():
        with get_client(sync_client=True) as client:
            return [log.message for log in client.read_logs(shown) if "the last lines of job" in log.message]

    assert "/no/such/folder" in until(told, 60)[0]


def test_what_cannot_be_planned_crashes_with_its_reason(pool, folder):
    state = pool.ended(begin(folder, instance_type="no.such"))
    assert state.is_crashed()
    assert "no.such" in state.message
