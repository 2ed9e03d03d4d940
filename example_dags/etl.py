"""A nightly ETL that begins at one, has to be done by six, and is no dearer than that takes.

The deadline is the run's, so it stands in ``default_args`` (``"06:00"``, a time of day, would do as well). The plan
pays for faster machines only where the time would be too short without them, and a task that comes early passes what
is left of its time on to those after it. The report is a function: what it returns is in XCom.
"""

from datetime import datetime, timedelta

from airflow.sdk import DAG, task

from sky_airflow.operators.sky import SkyOperator
from sky_core import Artifact

with DAG(
    "etl",
    schedule="0 1 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"sky": {"minimize": "cost", "deadline": "5h"}, "retries": 1, "retry_delay": timedelta(minutes=1)},
):
    extract = SkyOperator(
        task_id="extract",
        run='echo "{{ ds }} 40" > "$SKY_OUTPUT_ROWS"; echo "{{ ds }} 2" >> "$SKY_OUTPUT_ROWS"',
        requires={"cpus": "2+"},
        hours=0.2,
        outputs={"rows": Artifact(size_gb=20)},
    )
    transform = SkyOperator(
        task_id="transform",
        run='awk "{ sum += \\$2 } END { print sum }" "$SKY_INPUT_ROWS" > "$SKY_OUTPUT_SUM"',
        requires={"cpus": "8+"},
        hours=0.7,
        inputs={"rows": extract.outputs["rows"]},
        outputs={"sum": Artifact(size_gb=0.001)},
    )

    @task.sky(requires={"cpus": "2+"}, hours=0.1)
    def report(total):
        return int(total.read_text())

    report(transform.outputs["sum"])
