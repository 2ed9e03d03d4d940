"""Needs that whoever triggers the run decides: ``requires`` is a template of the run's parameters.

A run that is triggered with ``{"accelerator": "H100", "spot": false}`` is planned with that; a file's plan
(``skyloom plan``) is that of the parameters' defaults.
"""

from datetime import datetime

from airflow.sdk import DAG, Param

from sky_airflow.operators.sky import SkyOperator

with DAG(
    "by_params",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={
        "accelerator": Param("L4", enum=["L4", "A100", "H100", "Inferentia2"]),
        "count": Param(1, type="integer", minimum=1, maximum=8),
        "spot": Param(True, type="boolean"),
    },
):
    SkyOperator(
        task_id="train",
        run="echo {{ params.accelerator }}",
        requires={"accelerators": "{{ params.accelerator }}:{{ params.count }}", "use_spot": "{{ params.spot }}"},
        hours=2,
    )
