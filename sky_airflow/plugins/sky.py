"""Pages in Airflow's UI for each DAG run: the plan, what became of it, each job. Only for those who may see the DAG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.sdk.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from sky_airflow import listener
from sky_airflow.hooks.sky import SkyHook
from sky_airflow.links.sky import base_path
from sky_airflow.planning import TOLD

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.ui.answers import Asked

# Airflow mounts plugins' apps without authentication: the dependency asks, as its own pages do, for a login that may
# see the runs of the DAG that the query names.
app = FastAPI(dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
DagId = Annotated[str, "DAG"]
RunId = Annotated[str, "DAG run"]


@app.get("/plan", response_class=HTMLResponse)
def plan_page(dag_id: DagId, run_id: RunId) -> str:
    """The newest plan of a DAG run as a page of its own."""
    from sky_core.planner import Plan
    from sky_core.planner.view.page import Progress, plan_page

    broker, key = _found(dag_id, run_id)
    found = broker.store.plan(key)
    assert found is not None
    progress = {line.task: Progress(line.state, line.usd) for line in broker.bill(key).lines}
    plan = Plan.model_validate_json(found.plan)
    return plan_page(plan, f"{dag_id}, {run_id}", progress, _happenings(broker, key))


@app.get("/run", response_class=HTMLResponse)
def run_page(dag_id: DagId, run_id: RunId) -> str:
    """What has happened when and where, and what it has cost, against the first plan. It keeps itself up to date."""
    from sky_core.ui.pages.runs import run_page

    broker, key = _found(dag_id, run_id)
    return run_page(_asked(broker, dag_id, run_id, key=key)).text


@app.get("/job", response_class=HTMLResponse)
def job_page(dag_id: DagId, run_id: RunId, id: str = "", task_id: str = "", map_index: int = -1) -> str:
    """A job of the run: its machines, its events, the end of its log. By its id, or the newest of a task instance."""
    from sky_core.ui.pages.runs import job_page

    broker, key = _found(dag_id, run_id)
    jobs = broker.store.jobs(plan_key=key, limit=1_000_000)
    begin = f"airflow/{dag_id}/{run_id}/{task_id}/{map_index}/"
    found = [job for job in jobs if (job.id == id if id else job.key.startswith(begin))]
    if not found:
        raise HTTPException(404, f"DAG run {run_id} of {dag_id} has no such job in its newest plan")
    newest = max(found, key=lambda job: job.created_at)
    return job_page(_asked(broker, dag_id, run_id, id=newest.id)).text


def _asked(broker: Broker, dag_id: str, run_id: str, **query: str) -> Asked:
    from sky_core.ui.answers import Addresses, Asked

    pages = (("/plan", "plan", "Plan"), ("/run", "run", "Run"))
    addresses = Addresses(f"{base_path()}/skyloom", {"dag_id": dag_id, "run_id": run_id}, pages)
    return Asked(broker.store, broker.settings, query, addresses)


def _found(dag_id: str, run_id: str) -> tuple[Broker, str]:
    """The broker whose store has the run's plan, and the newest plan's key.

    Raises:
        HTTPException: if none has.
    """
    for broker in _brokers(dag_id, run_id):
        if keys := broker.store.plan_keys(prefix=f"airflow/{dag_id}/{run_id}/"):
            return broker, keys[-1]
    raise HTTPException(404, f"DAG run {run_id} of {dag_id} has no plan yet: its first Sky task makes it")


def _brokers(dag_id: str, run_id: str) -> Iterator[Broker]:
    """Those of the connections that the run's tasks have told of, and that of the server's own environment."""
    for name in connections_of(dag_id, run_id):
        yield SkyHook(name).broker
    yield SkyHook().broker


def connections_of(dag_id: str, run_id: str) -> list[str]:
    """The ``sky_conn_id`` of a run's tasks: :func:`sky_airflow.planning.tell_plan` leaves it in XCom."""
    import sqlalchemy as sa
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    mine = (XComModel.dag_id == dag_id) & (XComModel.run_id == run_id) & (XComModel.key == TOLD)
    with create_session() as session:
        rows = session.scalars(sa.select(XComModel).where(mine)).all()
        told = [XComModel.deserialize_value(row) for row in rows]
    return sorted({name for one in told if (name := one.get("sky_conn_id"))})


def _happenings(broker: Broker, key: str) -> list[tuple[str, str]]:
    from sky_core.job.narrate import describe

    told = [(event.at, job.task, describe(event)) for job in broker.store.jobs(plan_key=key)
            for event in broker.store.events(job.id)]  # fmt: skip
    return [(task, text) for _, task, text in sorted(told)]


def _tab(name: str, page: str) -> dict[str, str]:
    """A tab on every DAG run."""
    href = f"{base_path()}/skyloom/{page}?dag_id={{DAG_ID}}&run_id={{RUN_ID}}"
    return {"name": name, "href": href, "destination": "dag_run", "url_route": f"skyloom_{page}"}


class SkyloomPlugin(AirflowPlugin):
    """Registers the pages, tabs on every DAG run, and the listener that ends jobs of tasks that were failed."""

    name = "skyloom"
    listeners = [listener]  # noqa: RUF012
    fastapi_apps = [{"app": app, "url_prefix": "/skyloom", "name": "Skyloom"}]  # noqa: RUF012
    external_views = [_tab("Skyloom plan", "plan"), _tab("Skyloom run", "run")]  # noqa: RUF012
