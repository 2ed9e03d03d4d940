"""What tasks ask Prefect for and tell it while they run: variables, secrets, names of runs, artifacts."""

from __future__ import annotations

from uuid import UUID

import prefect
import prefect.runtime
from prefect import get_run_logger, task
from prefect.artifacts import Artifact, create_markdown_artifact, create_progress_artifact, create_table_artifact
from prefect.artifacts import update_progress_artifact as update
from prefect.blocks.system import Secret
from prefect.runtime import flow_run, task_run
from prefect.variables import Variable

from tests.prefect.same.cases import case, cloud


@case
def variable_and_secret():
    @cloud
    def asks():
        region, missing = Variable.get("same_region"), Variable.get("same_missing", default=3)
        return region, missing, Secret.load("same-secret").get()

    Variable.set("same_region", {"name": "north", "zones": [1, 2]}, overwrite=True)
    Secret(value="told to nobody").save("same-secret", overwrite=True)
    return asks.submit().result()


def limit_of(name="same_limit"):
    return Variable.get("same_limit") if name else None


@case
def variable_that_a_helper_asks_for():
    @cloud
    def asks():
        return limit_of() + 1

    Variable.set("same_limit", 41, overwrite=True)
    return asks.submit().result()


@case
def imports_of_prefect_inside():
    @cloud
    def asks():
        from prefect import get_run_logger
        from prefect.runtime import task_run as mine
        from prefect.variables import Variable as Kept

        get_run_logger().info("user: %s", mine.task_name)
        return Kept.get("same_inside"), mine.parameters

    Variable.set("same_inside", "in", overwrite=True)
    return asks.submit().result()


@case
def secret_that_is_missing():
    @cloud
    def asks():
        try:
            return Secret.load("same-no-such-secret").get()
        except ValueError:
            return "none of that name"

    return asks.submit().result()


@case
def names_of_runs():
    @cloud(retries=1, name="knows", task_run_name="knows {x}")
    def knows(x):
        get_run_logger().info("user: try %s of %s", task_run.run_count, task_run.name)
        if task_run.run_count == 1:
            raise ValueError("once")
        return task_run.parameters, flow_run.id, prefect.runtime.flow_run.flow_name, sorted(task_run.tags)

    with prefect.tags("a", "b"):
        parameters, run, name, tags = knows.submit(5).result()
    return parameters, run == flow_run.id, name, tags


@case
def artifacts_of_a_cloud_task():
    key = f"same-{UUID(flow_run.id).hex}"

    @cloud
    def tells(key):
        create_markdown_artifact("# Done\nand *well*", key=f"{key}-text", description="how it went")
        create_table_artifact(key=f"{key}-table", table=[{"a": 1, "b": None}])
        progress = create_progress_artifact(0.0, key=f"{key}-progress")
        update(progress, progress=75.0)
        return prefect.artifacts is not None

    done = tells.submit(key).result()
    kept = [Artifact.get(f"{key}-{what}") for what in ("text", "table", "progress")]
    return done, [(one.type, one.data, one.description, one.task_run_id is not None) for one in kept]


@case
async def variable_in_a_coroutine():
    @cloud
    async def asks():
        return await Variable.aget("same_async"), await Variable.get("same_async")

    await Variable.aset("same_async", [1], overwrite=True)
    return asks.submit().result()


@case
def nested_task_that_asks():
    @task
    def inner():
        return Variable.get("same_nested")

    @cloud
    def outer():
        return inner()

    Variable.set("same_nested", "deep", overwrite=True)
    return outer.submit().result()
