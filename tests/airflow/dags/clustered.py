"""A task that works with a cluster which the task before it has brought up: with a teardown, and without."""

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG, task

from sky_airflow.hooks.sky import SkyHook
from sky_airflow.operators.cluster import SkyClusterOperator


@task
def count(cluster, seconds, name):
    from distributed import Client

    with SkyHook().reach(cluster) as address, Client(address) as client:
        ranks = client.run(lambda: os.environ["SKY_NODE_RANK"])
        Path(os.environ["SKYLOOM_HOME"], f"{name}.pid").write_text(str(os.getpid()))
        time.sleep(seconds)
        return [sum(client.gather(client.map(lambda number: number * number, range(200)))), sorted(ranks.values())]


@task
def count_by_ray(cluster, seconds, name):
    import ray

    with SkyHook().reach(cluster) as address, ray.init(address):

        @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
        def square(number):
            time.sleep(0.05)
            return os.environ["SKY_NODE_RANK"], number * number

        Path(os.environ["SKYLOOM_HOME"], f"{name}.pid").write_text(str(os.getpid()))
        time.sleep(seconds)
        found = ray.get([square.remote(number) for number in range(200)])
        return [sum(value for _, value in found), sorted({rank for rank, _ in found})]


DASK = ({"name": "dask", "threads": 1}, count)
RAY = ({"name": "ray", "num_cpus": 2}, count_by_ray)

# name, engine, where the setup waits, for how long the cluster is used, whether there is a teardown
for name, (engine, uses), deferrable, seconds, ends in (
    ("well", DASK, True, 0, True),
    ("blocking", DASK, False, 0, True),
    ("killed", DASK, True, 600, True),
    ("left", DASK, False, 0, False),
    ("ray", RAY, True, 0, True),
    ("ray_killed", RAY, True, 600, True),
):
    with DAG(f"clustered_{name}", schedule=None, start_date=datetime(2026, 1, 1)) as dag:
        cluster = SkyClusterOperator(
            task_id="cluster",
            engine=engine,
            num_nodes=2,
            environment=None,  # the image has it
            requires={"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"},
            deferrable=deferrable,
            # Airflow fails a task whose trigger fires before the scheduler has read that the task was deferred.
            retries=1,
            retry_delay=timedelta(0),
        )
        if ends:
            with cluster.teardown():
                uses.override(task_id="count")(cluster.output, seconds, name)
        else:
            uses.override(task_id="count")(cluster.output, seconds, name)
    globals()[dag.dag_id] = dag
