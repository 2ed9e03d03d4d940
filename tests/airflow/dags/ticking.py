"""One long Sky task, waiting in the triggerer or in its own process, that tells which process runs it."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from sky_airflow.operators.sky import SkyOperator


class Telling(SkyOperator):
    def execute(self, context):
        Path(os.environ["SKYLOOM_HOME"], f"{self.task_id}.pid").write_text(str(os.getpid()))
        return super().execute(context)


# name, whether it waits in the triggerer, retries, seconds
for name, deferrable, retries, seconds in (
    ("deferred", True, 2, 15),
    ("blocking", False, 2, 15),
    ("long", True, 0, 600),
    ("last", False, 0, 600),
):
    with DAG(f"ticking_{name}", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        Telling(
            task_id=name,
            run=f"for i in $(seq {4 * seconds}); do echo tick $i; sleep 0.25; done",
            hours=1,
            requires={"cloud": "aws", "region": "us-east-1", "cpus": 2},
            deferrable=deferrable,
            retries=retries,
            retry_delay=timedelta(seconds=1),
        )
    globals()[dag.dag_id] = dag
