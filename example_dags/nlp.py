"""Fine-tune a small language model and judge it; a person is asked if that takes more than $40.

Accelerators of three vendors compete: estimates are given for each, so the plan weighs an H100 that is dear and quick
against an A100 that is neither, with what moving the corpus costs. ``over="ask"`` puts a question among Airflow's
"Required Actions" if the plan is dearer than ``max_usd``; nothing has been paid for by then.
"""

from datetime import datetime

from airflow.sdk import DAG

from sky_airflow.operators.plan import SkyPlanOperator
from sky_airflow.operators.sky import SkyOperator
from sky_core import Artifact

with DAG("nlp", schedule=None, start_date=datetime(2026, 1, 1)):
    plan = SkyPlanOperator(task_id="plan", max_usd=40, over="ask")
    tokens = SkyOperator(
        task_id="tokenize",
        run='tr -s " " "\\n" < /etc/services | sort | uniq -c > "$SKY_OUTPUT_TOKENS"',
        requires={"cpus": "8+", "memory": "32+"},
        hours=0.5,
        outputs={"tokens": Artifact(size_gb=4)},
    )
    tuned = SkyOperator(
        task_id="tune",
        run='wc -l < "$SKY_INPUT_TOKENS" > "$SKY_OUTPUT_MODEL"',
        requires={"accelerators": ["A100", "H100", "tpu-v5litepod-8"], "use_spot": True},
        hours={"A100": 5, "H100": 2.4, "tpu-v5litepod-8": 2.8},
        checkpoint="10m",
        inputs={"tokens": tokens.outputs["tokens"]},
        outputs={"model": Artifact(size_gb=14)},
    )
    judged = SkyOperator(
        task_id="judge",
        run='cat "$SKY_INPUT_MODEL"',
        requires={"accelerators": ["L4", "Inferentia2"]},
        hours={"L4": 0.8, "Inferentia2": 0.6},
        inputs={"model": tuned.outputs["model"]},
    )
    plan >> tokens
