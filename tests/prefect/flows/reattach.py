"""A flow whose process is killed and run again: ``python reattach.py new`` or ``… FLOW_RUN_ID``."""

import sys
import time
from uuid import UUID

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from sky_prefect import SkyTaskRunner, resources


@task
@resources(cloud="aws", region="us-east-1", cpus=2, hours=1)
def train():
    for number in range(60):
        print(f"tick {number}", flush=True)
        time.sleep(0.2)
    return 42


@flow(name="reattach", task_runner=SkyTaskRunner())
def reattach():
    return train.submit().result()


if __name__ == "__main__":
    with get_client(sync_client=True) as client:
        if sys.argv[1] == "new":
            run = client.create_flow_run(reattach)
        else:
            client.set_flow_run_state(UUID(sys.argv[1]), Scheduled(name="AwaitingRetry"), force=True)
            run = client.read_flow_run(UUID(sys.argv[1]))
    print(f"flow run {run.id}", flush=True)
    print(f"result {run_flow(reattach, flow_run=run, parameters={}, return_type='result')}", flush=True)
