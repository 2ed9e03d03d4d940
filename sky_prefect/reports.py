"""What Prefect's UI and automations are told of a flow run's jobs: artifacts and events."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context
from pathlib import Path

from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.events import emit_event
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from sky_core.events import EventKind
from sky_core.job.bill import Bill
from sky_core.job.narrate import describe
from sky_core.planner import Plan
from sky_core.planner.view.page import plan_markdown, plan_page
from sky_core.store import Event
from sky_prefect import compat
from sky_prefect.remote.packing import Logger

PLAN, BILL = "skyloom-plan", "skyloom-bill"  # the artifacts' keys

# Which of a job's events are events of Prefect's, too, for its automations.
EVENTS: Mapping[EventKind, str] = {
    "started": "sky.task.started",
    "preempted": "sky.task.preempted",
    "died": "sky.task.preempted",
    "refused": "sky.task.failover",
    "deadline in danger": "sky.task.late",
    "succeeded": "sky.task.finished",
    "failed": "sky.task.failed",
    "cancelled": "sky.task.cancelled",
}


def tell_event(run: TaskRun | FlowRun, event: Event) -> None:
    """Emit a job's event as one of the run that waits for it, a task run's related to its flow run, if of interest."""
    name = EVENTS.get(event.kind)
    if name is None:
        return
    kind, flow = ("task-run", run.flow_run_id) if isinstance(run, TaskRun) else ("flow-run", None)
    above = {"prefect.resource.id": f"prefect.flow-run.{flow}", "prefect.resource.role": "flow-run"}
    emit_event(
        event=name,
        resource={"prefect.resource.id": f"prefect.{kind}.{run.id}", "prefect.resource.name": run.name},
        related=[above] if flow else [],
        payload={"job": event.job_id, "said": describe(event)},
    )


def run_logger(otherwise: Logger) -> Logger:
    """The present run's logger; another's where there is no run."""
    try:
        return get_run_logger()
    except MissingContextError:
        return otherwise


def show_plan(plan: Plan, path: Path, logger: Logger) -> None:
    """Keep a plan as a page at ``path`` and as an artifact of the present run."""
    page: Path | None = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(plan_page(plan), encoding="utf-8")
    except OSError as error:
        logger.warning("the plan's page could not be written: %s", error)
        page = None
    _artifact(PLAN, plan_markdown(plan, page), logger)


def show_bill(bill: Bill, plan: Plan | None, logger: Logger, context: Context) -> None:
    """Keep a bill as an artifact of a run, beside what the plan said, and tell its sum."""
    context.copy().run(_artifact, BILL, bill_markdown(bill, plan), logger)
    context.copy().run(lambda: run_logger(logger).info("bill: $%.4f", bill.usd))


def bill_markdown(bill: Bill, plan: Plan | None) -> str:
    """A table of what each task has cost, with the whole plan's promise and the cheapest single cloud beside it."""
    rows = [f"| {line.task} | {line.compute_usd:.4f} | {line.egress_usd:.4f} |" for line in bill.lines]
    total = [f"Total: ${bill.usd:.4f}"]
    if plan is not None:
        total.append(f"planned: ${plan.cost_usd:.4f}")
        alone = {cloud: one.cost_usd for cloud, one in plan.alone.items() if one.cost_usd is not None}
        if alone:
            cloud = min(alone, key=lambda name: alone[name])
            total.append(f"on one cloud alone, {cloud} at best: ${alone[cloud]:.4f}")
    return "\n".join(["| task | compute $ | egress $ |", "|---|---|---|", *rows, "", "; ".join(total)])


def _artifact(key: str, markdown: str, logger: Logger) -> None:
    try:
        compat.create_artifact(key, markdown)
    except Exception as error:  # noqa: BLE001 - a picture of the plan must not end the flow
        logger.warning("the artifact %s could not be kept: %s", key, error)
