"""Sky tasks that wait in the triggerer, in waves with nothing to do for Skyloom in between."""

import os
import time
from datetime import datetime

from airflow.sdk import DAG, task

from sky_airflow.operators.sky import SkyOperator

TASKS, WAVES = int(os.environ["WAVES_TASKS"]), int(os.environ["WAVES"])
SECONDS, PAUSE_S = int(os.environ["WAVES_SECONDS"]), 20.0  # a driver leaves after ten seconds without a job

with DAG("waves", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=TASKS):
    before = None
    for wave in range(WAVES):

        @task(task_id=f"pause_{wave}")
        def pause():
            time.sleep(PAUSE_S)

        sky = SkyOperator.partial(
            task_id=f"wave_{wave}",
            run=f"echo began $NUMBER; sleep {SECONDS}; echo ended $NUMBER",
            requires={"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"},
            hours=0.1,
        ).expand(envs=[{"NUMBER": str(number)} for number in range(TASKS // WAVES)])
        paused = pause()
        if before is not None:
            before >> paused
        paused >> sky
        before = sky
