"""A sweep over learning rates: one task, mapped, and a function that picks the best of its results.

``.expand()`` is Airflow's own. Instances that differ in nothing that placement depends on share a place in the plan;
were ``requires`` mapped, each would have one of its own.
"""

from datetime import datetime

from airflow.sdk import DAG, task

with DAG("sweep", schedule=None, start_date=datetime(2026, 1, 1), default_args={"sky": {"minimize": "cost"}}):

    @task.sky(requires={"cpus": "2+", "use_spot": True}, hours=0.3, max_active_tis_per_dagrun=8)
    def train(rate):
        return {"rate": rate, "loss": (rate - 0.03) ** 2}

    @task.sky(requires={"cpus": "2+"}, hours=0.05)
    def best(tried):
        return min(tried, key=lambda one: one["loss"])["rate"]

    best(train.expand(rate=[0.01, 0.03, 0.1]))
