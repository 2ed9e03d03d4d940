"""Forty independent jobs on spot machines, each with a checkpoint that it goes on from when its machine is taken away.

The command reads its state from ``$SKY_CHECKPOINT_DIR`` and writes it there in one step (``mv``), so whatever machine
comes next begins where the last checkpoint was. Spread over zones and clouds, the jobs do not all wait for one market.
"""

from datetime import datetime

from airflow.sdk import DAG

from sky_airflow.operators.sky import SkyOperator

STEPS = """
cd "$SKY_CHECKPOINT_DIR"
read done < state || done=0
while [ $done -lt {{ params.steps }} ]; do
    done=$((done + 1)); echo $done > state.tmp; mv state.tmp state
done
echo "job $JOB: $done steps"
"""

with DAG("spot_jobs", schedule=None, start_date=datetime(2026, 1, 1), params={"steps": 100}, max_active_tasks=40):
    SkyOperator.partial(
        task_id="job",
        run=STEPS,
        requires={"accelerators": ["L4", "A100"], "use_spot": True},
        hours={"L4": 3, "A100": 1},
        checkpoint="5m",
        max_attempts=10,
    ).expand(envs=[{"JOB": str(number)} for number in range(40)])
