"""A page in Airflow's UI for each DAG run: the plan, what happened, the bill. Only for those who may see the DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from sky_airflow import listener
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import base_path

if TYPE_CHECKING:
    from sky_core.broker import Broker

# Airflow mounts plugins' apps without authentication: the dependency asks, as its own pages do, for a login that may
# see the runs of the DAG that the query names.
app = FastAPI(dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])


@app.get("/plan", response_class=HTMLResponse)
def plan_page(dag_id: Annotated[str, "DAG"], run_id: Annotated[str, "DAG run"]) -> str:
    """The newest plan of a DAG run as a page of its own."""
    from sky_core.planner import Plan
    from sky_core.planner.view.page import Progress, plan_page

    broker = SkyHook().broker
    keys = broker.store.plan_keys(prefix=f"airflow/{dag_id}/{run_id}/")
    if not keys:
        raise HTTPException(404, f"DAG run {run_id} of {dag_id} has no plan yet: its first Sky task makes it")
    found = broker.store.plan(keys[-1])
    assert found is not None
    progress = {line.task: Progress(line.state, line.usd) for line in broker.bill(keys[-1]).lines}
    plan = Plan.model_validate_json(found.plan)
    return plan_page(plan, f"{dag_id}, {run_id}", progress, _happenings(broker, keys[-1]))


def _happenings(broker: Broker, key: str) -> list[tuple[str, str]]:
    from sky_core.job.narrate import describe

    told = [(event.at, job.task, describe(event)) for job in broker.store.jobs(plan_key=key)
            for event in broker.store.events(job.id)]  # fmt: skip
    return [(task, text) for _, task, text in sorted(told)]


class SkyloomPlugin(AirflowPlugin):
    """Registers the page, a tab on every DAG run, and the listener that ends jobs of tasks that were failed."""

    name = "skyloom"
    listeners = [listener]  # noqa: RUF012
    fastapi_apps = [{"app": app, "url_prefix": "/skyloom", "name": "Skyloom"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Skyloom plan",
            "href": f"{base_path()}/skyloom/plan?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "skyloom_plan",
        }
    ]
