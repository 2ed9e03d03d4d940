"""What a DAG file with Sky tasks costs each time that Airflow parses it, compared with its own operators'."""

import time
from datetime import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from sky_airflow.operators.sky import SkyOperator

MANY = 200


def bash():
    with DAG("bash", schedule=None, start_date=datetime(2026, 1, 1)):
        for number in range(MANY):
            BashOperator(task_id=f"t{number}", bash_command="echo {{ ds }}", env={"A": "1"})


def sky():
    with DAG("sky", schedule=None, start_date=datetime(2026, 1, 1)):
        for number in range(MANY):
            SkyOperator(task_id=f"t{number}", run="echo {{ ds }}", envs={"A": "1"}, hours=1,
                        requires={"accelerators": "T4", "cpus": "4+"}, outputs={"o": {"size_gb": 1}})  # fmt: skip


def cpu_s(make):
    began = time.process_time()
    make()
    return time.process_time() - began


def test_an_operator_costs_less_than_a_millisecond_more_than_airflows_own():
    paired = [(cpu_s(bash), cpu_s(sky)) for _ in range(4)]
    more_ms = (min(ours for _, ours in paired) - min(theirs for theirs, _ in paired)) / MANY * 1000
    print(f"{more_ms:.2f} ms of CPU for each operator")
    assert more_ms < 1
