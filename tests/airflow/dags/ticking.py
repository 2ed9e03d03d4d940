"""One long Sky task, waiting in the triggerer or in its own process, that tells which process runs it."""

import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG

from sky_airflow.operators.sky import SkyOperator

MINUTE = timedelta(minutes=1)


class Telling(SkyOperator):
    def execute(self, context):
        Path(os.environ["SKYLOOM_HOME"], f"{self.task_id}.pid").write_text(str(os.getpid()))
        return super().execute(context)


# name, whether it waits in the triggerer, retries, seconds, limit of the task, limit of the run
for name, deferrable, retries, seconds, own_limit, limit in (
    ("deferred", True, 2, 15, None, None),
    ("blocking", False, 2, 15, None, None),
    ("long", True, 0, 600, None, None),
    ("cancelled", True, 2, 600, None, None),
    ("last", False, 0, 600, None, None),
    ("brief_deferred", True, 0, 600, MINUTE, None),
    ("brief_blocking", False, 0, 600, MINUTE, None),
    ("short_deferred", True, 0, 600, None, MINUTE),
    ("short_blocking", False, 0, 600, None, MINUTE),
):
    with DAG(f"ticking_{name}", schedule=None, start_date=datetime(2026, 1, 1), dagrun_timeout=limit) as dag:
        Telling(
            task_id=name,
            run=f"for i in $(seq {4 * seconds}); do echo tick $i; sleep 0.25; done",
            hours=1,
            requires={"cloud": "aws", "region": "us-east-1", "cpus": 2},
            deferrable=deferrable,
            retries=retries,
            retry_delay=timedelta(seconds=1),
            execution_timeout=own_limit,
        )
    globals()[dag.dag_id] = dag
