"""The same flow on three task runners: ``RUNNER=dask|ray|skyloom python counting.py new|FLOW_RUN_ID``.

Only the runner, and for Skyloom what the task needs, differ. Each second the task notes that it runs.
"""

import os
import sys
import time
from pathlib import Path
from uuid import UUID, uuid4

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

RUNNER, ADDRESS = os.environ["RUNNER"], os.environ.get("ADDRESS")
SECONDS, TIMEOUT_S = int(os.environ["SECONDS"]), os.environ.get("TIMEOUT_S")


def count(notes, seconds):
    begin, shared = uuid4().hex[:8], Path(notes).exists()  # a machine of the sandbox has files of its own
    for _ in range(seconds):
        note = f"note {begin} {os.getpid()}"
        print(note, flush=True)
        if shared:
            with Path(notes).open("a") as file:
                file.write(f"{note}\n")
        time.sleep(1)
    return seconds


if RUNNER == "dask":
    from prefect_dask import DaskTaskRunner

    runner = DaskTaskRunner(address=ADDRESS)
elif RUNNER == "ray":
    from prefect_ray import RayTaskRunner

    runner = RayTaskRunner(address=ADDRESS)
else:
    from sky_prefect import SkyTaskRunner, resources

    count = resources(cloud="aws", region="us-east-1", cpus=2, hours=0.1)(count)
    runner = SkyTaskRunner()

count = task(count, name="count", timeout_seconds=float(TIMEOUT_S) if TIMEOUT_S else None)


@flow(name=f"counting-{RUNNER}", task_runner=runner)
def counting():
    return count.submit(os.environ["NOTES"], SECONDS).result()


if __name__ == "__main__":
    with get_client(sync_client=True) as client:
        if sys.argv[1] == "new":
            run = client.create_flow_run(counting)
        else:
            client.set_flow_run_state(UUID(sys.argv[1]), Scheduled(name="AwaitingRetry"), force=True)
            run = client.read_flow_run(UUID(sys.argv[1]))
    print(f"flow run {run.id}", flush=True)
    state = run_flow(counting, flow_run=run, parameters={}, return_type="state")
    print(f"ended {state.name}", flush=True)
    sys.stdout.flush()
    os._exit(0)  # threads that cannot be interrupted do not keep us
