"""A flow that runs as a whole on a machine, and asks for a further one."""

import os
from pathlib import Path

from prefect import flow, task

from sky_prefect import SkyTaskRunner, resources


@task
@resources(cloud="aws", region="us-east-1", instance_type="t3.small", hours=0.1)
def square(number):
    return number * number, os.environ["SKY_JOB_ID"]


@flow(task_runner=SkyTaskRunner(config="team"))
def nested(folder: str):
    value, job = square.submit(7).result()
    Path(folder, "told").write_text(f"{value} {job} {os.environ['SKY_JOB_ID']}")
