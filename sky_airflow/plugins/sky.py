"""A page in Airflow's UI for each DAG run: the plan, what happened, the bill. Only for those who are logged in."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.core_api.security import get_user
from airflow.sdk.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import HTMLResponse

from sky_airflow import listener
from sky_airflow.hooks.sky import SkyHook

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.planner import Plan

# Airflow mounts plugins' apps without authentication: the dependency asks for a login as its own pages do.
app = FastAPI(dependencies=[Depends(get_user)])

STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { margin: 2rem; max-width: 70rem } table { border-collapse: collapse; margin: 1rem 0; width: 100% }
th, td { text-align: left; padding: .35rem .8rem }
tbody tr { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
td.number { text-align: right; font-variant-numeric: tabular-nums } ol { padding-left: 1.2rem }
"""


@app.get("/plan", response_class=HTMLResponse)
def plan_page(dag_id: Annotated[str, "DAG"], run_id: Annotated[str, "DAG run"]) -> str:
    """The newest plan of a DAG run as a page of its own."""
    from sky_core.planner import Plan

    broker = SkyHook().broker
    keys = broker.store.plan_keys(prefix=f"airflow/{dag_id}/{run_id}/")
    if not keys:
        raise HTTPException(404, f"DAG run {run_id} of {dag_id} has no plan yet: its first Sky task makes it")
    found = broker.store.plan(keys[-1])
    assert found is not None
    return _page(f"{dag_id}, {run_id}", broker, keys[-1], Plan.model_validate_json(found.plan))


def _page(title: str, broker: Broker, key: str, plan: Plan) -> str:
    bill = {line.task: line for line in broker.bill(key).lines}
    rows = []
    for placement in plan.placements.values():
        line = bill.get(placement.task)
        spent = f"{line.usd:.4f}" if line else "-"
        cells = [placement.task, placement.machine, line.state if line else "planned"]
        numbers = [f"{placement.hours:.2f}", f"{placement.compute_usd + placement.egress_usd:.2f}", spent]
        rows.append(_row(cells, numbers))
    single = ", ".join(f"{c}: {'infeasible' if v is None else f'${v:.2f}'}" for c, v in plan.single_cloud.items())
    head = "".join(f"<th>{name}</th>" for name in ("task", "machine", "state", "hours", "planned $", "spent $"))
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Skyloom plan</title><style>{STYLE}</style>"
        f"<h1>{html.escape(title)}</h1>"
        f"<p>Planned ${plan.cost_usd:.2f} in {plan.hours:.2f} h. One cloud alone: {single}.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<h2>What happened</h2><ol>{''.join(_happenings(broker, key))}</ol></html>"
    )


def _row(cells: list[str], numbers: list[str]) -> str:
    text = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f"<tr>{text}{''.join(f'<td class=number>{number}</td>' for number in numbers)}</tr>"


def _happenings(broker: Broker, key: str) -> list[str]:
    from sky_core.job.narrate import describe

    told = [(event.at, job.task, describe(event)) for job in broker.store.jobs(plan_key=key)
            for event in broker.store.events(job.id)]  # fmt: skip
    return [f"<li><b>{html.escape(task)}</b> {html.escape(text)}</li>" for _, task, text in sorted(told)]


class SkyloomPlugin(AirflowPlugin):
    """Registers the page, a tab on every DAG run, and the listener that ends jobs of tasks that were failed."""

    name = "skyloom"
    listeners = [listener]  # noqa: RUF012
    fastapi_apps = [{"app": app, "url_prefix": "/skyloom", "name": "Skyloom"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Skyloom plan",
            "href": "/skyloom/plan?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "skyloom_plan",
        }
    ]
