"""What Airflow's processes take on through us: no polars where tasks are scheduled and awaited; forks plan well."""

import os
import subprocess
import sys
import textwrap

HOME = """
    [clouds.aws]
    enabled = true
    [clouds.gcp]
    enabled = false
    [clouds.azure]
    enabled = false
"""


def run(program, home, seconds=120):
    """The words of the last line that a program of its own prints, with that folder as its Skyloom home."""
    home.mkdir()
    (home / "config.toml").write_text(textwrap.dedent(HOME))
    environment = {**os.environ, "SKYLOOM_HOME": str(home), "AIRFLOW_HOME": str(home / "airflow")}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_scheduler_triggerer_and_dag_processor_never_load_polars(tmp_path):
    """A process that has used it must not fork, which the first does all day; and it weighs 100 MB."""
    program = """
        import asyncio, os, sys
        from datetime import datetime
        from airflow.sdk import DAG, task
        import sky_airflow.plugins.sky
        from sky_airflow.operators.sky import SkyOperator
        from sky_airflow.triggers.sky import SkyJobTrigger
        from sky_core.broker import Broker

        with DAG("d", schedule=None, start_date=datetime(2026, 1, 1)):
            first = SkyOperator(task_id="a", run="x", requires={"accelerators": "T4"}, outputs={"m": {}})
            @task.sky(requires={"cpus": "2+"})
            def second(model): ...
            second(first.outputs["m"])

        store = Broker.open().store
        job = store.submit("k", plan_key="p", task="a", spec="{}", owner=None)
        store.request_cancel(job.id, "no driver is started for it")
        trigger = SkyJobTrigger(job_id=job.id, owner="me", until=1.0)
        async def fires():
            return [event async for event in trigger.run()]
        (event,) = asyncio.run(fires())
        assert event.payload["timeout"], event
        others = [SkyJobTrigger(job_id=job.id)._hook.broker for _ in range(20)]
        assert all(other.store.job(job.id) for other in others)
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        database = [link for link in links if os.path.exists(link) and os.readlink(link).endswith("skyloom.db")]
        assert len(database) <= 4, database

        heavy = {"polars", "highspy", "pulp", "boto3", "paramiko"}
        print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules} & heavy))
    """
    assert run(program, tmp_path / "home") == ["loaded:"]


def test_a_process_forked_after_polars_was_used_can_plan(tmp_path):
    program = """
        import os, sys
        from sky_core import Pipeline, Resources, Task
        from sky_core.broker import Broker
        import polars
        polars.DataFrame({"a": range(100_000)}).group_by(polars.col("a") % 7).len()  # its threads are there now
        if not (child := os.fork()):
            task = Task(name="t", run="x", hours=lambda resources: 2, resources=Resources(accelerators="T4"))
            plan = Broker.open().plan("k", Pipeline(name="p", tasks=(task,)))
            print(plan.placements["t"].cloud, plan.placements["t"].hours, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    cloud, hours = run(program, tmp_path / "home")
    assert (cloud, float(hours) >= 2) == ("aws", True)
