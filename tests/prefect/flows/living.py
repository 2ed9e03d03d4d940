"""Flows of one cloud task that works until a file appears, in a folder that its machine sees, too."""

import os
import time
from pathlib import Path

from prefect import flow, task

from sky_prefect import SkyTaskRunner, resources


@task
@resources(cloud="aws", region="us-east-1", instance_type="t3.small", hours=0.1)
def works(folder):
    while not Path(folder, "enough").exists():
        print("tick", flush=True)
        time.sleep(0.2)
    return 42


@flow(task_runner=SkyTaskRunner())
def living(folder: str, limit_s: float | None = None):
    Path(folder, "pid").write_text(str(os.getpid()))
    return works.with_options(timeout_seconds=limit_s).submit(folder).result()


limited = living.with_options(name="limited", timeout_seconds=25)
