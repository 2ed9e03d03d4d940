"""A flow that runs as a whole on a machine, until a file appears in a folder that the machine sees, too."""

import os
import time
from pathlib import Path
from uuid import uuid4

from prefect import flow, task
from prefect.logging import get_run_logger


@task
def where():
    return os.environ.get("SKY_JOB_ID", "here")


@flow
def whole(folder: str):
    (Path(folder) / f"begun-{uuid4()}").touch()  # machines number their processes alike
    get_run_logger().info("begun on %s", where())
    while not Path(folder, "enough").exists():
        time.sleep(0.1)
    return 42
