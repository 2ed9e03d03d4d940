"""A flow that waits for a long cloud task: ``python exits.py``, or ``… serve NAME`` as a deployment."""

import sys
import time

from prefect import flow, task

from sky_prefect import SkyTaskRunner, resources

SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}


@task
@resources(**SMALL)
def slow():
    for number in range(600):
        print(f"tick {number}", flush=True)
        time.sleep(0.5)


@flow(task_runner=SkyTaskRunner())
def waits():
    slow.submit().result()


@task
@resources(**SMALL)
def one():
    return 1


@flow(name="served", task_runner=SkyTaskRunner())
def served():
    return one.submit().result()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        served.serve(name=sys.argv[2])
    else:
        waits()
