"""A DAG whose output is an asset, and one that is scheduled by it and reads what the event says of it."""

from datetime import datetime

from airflow.sdk import DAG, Asset, task

from sky_airflow.operators.sky import SkyOperator

NUMBERS = Asset("numbers")
SMALL = {"requires": {"cloud": "aws", "region": "us-east-1", "cpus": 2}, "hours": 0.1}

with DAG("makes_numbers", schedule=None, start_date=datetime(2026, 1, 1)):
    SkyOperator(
        task_id="make", run='seq 3 > "$SKY_OUTPUT_NUMBERS"', outputs={"numbers": {}}, outlets=[NUMBERS], **SMALL
    )

with DAG("adds_numbers", schedule=[NUMBERS], start_date=datetime(2026, 1, 1)):

    @task
    def made(triggering_asset_events=None):
        (event,) = triggering_asset_events[NUMBERS]
        return event.extra["uri"]

    SkyOperator(
        task_id="add", run="awk '{sum += $1} END {print \"sum\", sum}' \"$SKY_INPUT_NUMBERS\"",
        inputs={"numbers": made()}, **SMALL,
    )  # fmt: skip
