"""One task on two machines: they start together, know each other's addresses, and end together.

The command runs on each of them. ``$SKYPILOT_NODE_RANK`` says on which, ``$SKYPILOT_NODE_IPS`` has all addresses;
``engine="torchrun"`` would start a training script on all of them with that.
"""

from datetime import datetime

from airflow.sdk import DAG

from sky_airflow.operators.sky import SkyOperator

with DAG("gang", schedule=None, start_date=datetime(2026, 1, 1), default_args={"sky": {"minimize": "time"}}):
    SkyOperator(
        task_id="train",
        run='echo "rank $SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES: $SKYPILOT_NODE_IPS"',
        num_nodes=2,
        requires={"cpus": "4+"},
        hours=1,
    )
