"""Work pools of ours for tests: the worker, the deployments, and what became of their runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from sky_core.store import Store
from sky_prefect.pool import SkyWorker
from tests.conftest import until
from tests.prefect.servers import FAST, SILENT

FLOWS = Path(__file__).parent.parent / "flows"
MACHINE = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}
SMALL = {**MACHINE, "environment": None}  # with what the image has
CANARY = "canary-of-the-api-0123456789"


class Pool:
    """A work pool, its worker, and flow runs of deployments in it; its server may have others."""

    def __init__(self, world, server, name="clouds"):
        self.world, self.server, self.name = world, server, name
        self.store = Store(world.settings.store_url)
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_WORKER_PREFETCH_SECONDS": "1"}
        self.environment = {**os.environ, **world.environ, **server, **quick, "PREFECT_API_KEY": CANARY}

    @contextmanager
    def made(self):
        """The pool with its worker, within the block."""
        with temporary_settings({PREFECT_API_URL: self.server["PREFECT_API_URL"]}):
            template = SkyWorker.get_default_base_job_template()
            with get_client(sync_client=True) as client:
                client.create_work_pool(WorkPoolCreate(name=self.name, type="skyloom", base_job_template=template))
            self.start_worker()
            yield self
        self.worker.terminate()
        try:
            self.worker.wait(30)
        except subprocess.TimeoutExpired:
            self.worker.kill()

    def start_worker(self):
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.name, "--type", "skyloom"]
        self.worker = subprocess.Popen(command, env=self.environment, **SILENT)

    @contextmanager
    def misconfigured(self, **said):
        """The pool's template says something else within the block."""
        template = SkyWorker.get_default_base_job_template()
        wrong = {**template, "job_configuration": {**template["job_configuration"], **said}}
        with get_client(sync_client=True) as client:
            client.update_work_pool(self.name, WorkPoolUpdate(base_job_template=wrong))
            yield
            client.update_work_pool(self.name, WorkPoolUpdate(base_job_template=template))

    def deploy(self, name, directory, entrypoint="whole.py:whole"):
        """A deployment whose code is found in a directory of the machine."""
        steps = [{"prefect.deployments.steps.set_working_directory": {"directory": directory}}]
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow_from_name(entrypoint.partition(":")[2])
            client.create_deployment(flow_id, name, entrypoint=entrypoint, work_pool_name=self.name, pull_steps=steps)

    def begin(self, deployment, folder, base=SMALL, **needs):
        """A run of a deployment, which is told of a folder."""
        variables = {"resources": {**base, **needs}}
        return run_deployment(deployment, parameters={"folder": str(folder)}, timeout=0, job_variables=variables)

    def logs(self, run):
        """What its log says."""
        with get_client(sync_client=True) as client:
            found = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))
        return "\n".join(log.message for log in found)

    def jobs(self, run):
        return [job for job in self.store.jobs() if job.key.startswith(f"prefect-pool/{run.id}/")]

    def state(self, run):
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run.id).state

    def ended(self, run):
        """The run's final state, once its jobs are over; nothing of them is left."""
        state = until(lambda: (now := self.state(run)) and now.is_final() and now)
        until(lambda: all(job.over for job in self.jobs(run)))
        assert self.world.live() == []
        assert self.world.control.ledger(open_only=True) == []
        return state


@contextmanager
def common_folder():
    """A folder that machines see, too, for :mod:`tests.prefect.flows.whole`."""
    made = Path(tempfile.mkdtemp(dir=FAST))
    made.chmod(0o777)  # machines have users of their own
    yield made
    (made / "enough").touch()
    shutil.rmtree(made)


def begun(folder):
    """How many processes of the flow there were."""
    return len([*folder.glob("begun-*")])
