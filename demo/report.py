"""What happened in one run, read from the store and asked of the clouds: tables to look at and a JSON report."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

from sky_core.broker import Broker
from sky_core.job.narrate import describe
from sky_core.overview.against import Against, against
from sky_core.overview.jobs import job_rows
from sky_core.planner import Plan
from sky_core.planner.view.table import plan_view
from sky_core.planner.view.words import money
from sky_core.store import Choice, Job
from sky_core.ui.answers import Asked
from sky_core.ui.pages import PAGES

MOST_REASONS = 6
RESUMED = re.compile(rb"^resuming from epoch (\d+)", re.MULTILINE)
ACCURACY = re.compile(rb"^accuracy[ =:]+([0-9.]+)", re.MULTILINE)


def engine_report(broker: Broker, leaked: int) -> dict[str, Any]:
    """One engine's part of the report: the newest plan in the store and its jobs."""
    key = broker.store.plan_keys()[-1]
    first, newest = _plans(broker, key)
    jobs = {job.task: job for job in broker.store.jobs(plan_key=key)}
    bill = {line.task: line for line in broker.bill(key).lines}
    accuracies = [ACCURACY.findall(broker.store.log(job.id)) for job in jobs.values()]
    return {
        "tasks": [
            _task(broker, jobs[name])
            | {"cost_usd": bill[name].compute_usd, "egress_usd": bill[name].egress_usd}
            | {"plan_cost_usd": _usd(first, name), "replanned_cost_usd": _usd(newest, name)}
            for name in first.placements
        ],
        "plan_cost_usd": first.cost_usd,
        "replanned_cost_usd": _against_plan(broker, key).replanned_usd,
        "plan_hours": first.hours,
        "bill_usd": sum(line.usd for line in bill.values()),
        "best_single_cloud": {cloud: first.single_cloud.get(cloud) for cloud in ("aws", "gcp", "azure")},
        "accuracy": max(float(found[-1]) for found in accuracies if found),
        "leaked_instances": leaked,
    }


def _plans(broker: Broker, key: str) -> tuple[Plan, Plan]:
    """The plan that the run began with, and the one made when it was known what had gone wrong."""
    versions = broker.store.plan_versions(key)
    return Plan.model_validate_json(versions[0]), Plan.model_validate_json(versions[-1])


def _usd(plan: Plan, task: str) -> float:
    placed = plan.placements[task]
    return placed.compute_usd + placed.egress_usd


def _task(broker: Broker, job: Job) -> dict[str, Any]:
    clusters = broker.store.clusters(job_id=job.id)
    last = clusters[-1]
    resumed = RESUMED.findall(broker.store.log(job.id))
    return {
        "name": job.task,
        "cloud": last.cloud,
        "region": last.region,
        "zone": last.zone,
        "instance_type": last.instance_type,
        "use_spot": last.use_spot,
        "attempts": [{"outcome": c.outcome, "cloud": c.cloud, "zone": c.zone or c.region} for c in clusters],
        "resumed_from_epoch": int(resumed[-1]) if resumed else None,
    }


def show(console: Console, engine: str, broker: Broker, report: dict[str, Any], preempted_after: int | None) -> None:
    """Print the plan, what went wrong and how it was met, the bill and the result."""
    key = broker.store.plan_keys()[-1]
    console.rule(f"{engine}: what happened")
    console.print(plan_view(Plan.model_validate_json(broker.store.plan_versions(key)[0])))
    for job in sorted(broker.store.jobs(plan_key=key), key=lambda job: job.created_at):
        told = [e for e in broker.store.events(job.id) if e.kind in ("refused", "replanned", "preempted", "restored")]
        for event in told:
            console.print(f"  [bold]{job.task}[/bold] {describe(event)}", highlight=False)
    for task in report["tasks"]:
        if task["resumed_from_epoch"] is not None and preempted_after is not None:
            lost = max(preempted_after - task["resumed_from_epoch"], 0)
            console.print(
                f"  [bold]{task['name']}[/bold] was taken back after epoch {preempted_after} and resumed from epoch "
                f"{task['resumed_from_epoch']}: {lost} finished epoch(s) of work lost"
            )
    heads = ("task", "ran at", "attempts", "planned $", "replanned $", "billed $", "of it egress $")
    table = Table(*heads, title="Bill", title_justify="left")
    for task in report["tasks"]:
        place = f"{task['cloud']}/{task['zone'] or task['region']} {task['instance_type']}"
        outcomes = ", ".join(attempt["outcome"] for attempt in task["attempts"])
        billed = task["cost_usd"] + task["egress_usd"]
        planned = (f"{usd:.3f}" for usd in (task["plan_cost_usd"], task["replanned_cost_usd"], billed))
        table.add_row(task["name"], place, outcomes, *planned, f"{task['egress_usd']:.4f}")
    console.print(table)
    off = report["bill_usd"] / report["replanned_cost_usd"] - 1
    console.print(
        f"planned ${report['plan_cost_usd']:.3f}; ${report['replanned_cost_usd']:.3f} by the newest plan, made when it "
        "was known what had gone wrong, with what earlier attempts had cost by then; "
        f"bill ${report['bill_usd']:.3f}, {off:+.0%} against that. Against the first plan:"
    )
    for reason in _against_plan(broker, key).reasons[:MOST_REASONS]:
        console.print(f"  {money(reason.usd, sign=True)}: {reason.task} {reason.why}", highlight=False)
    console.print(f"accuracy on held-out digits {report['accuracy']:.3f}")


def _against_plan(broker: Broker, key: str) -> Against:
    first, newest = _plans(broker, key)
    scale = broker.settings.scale
    return against(first, newest, job_rows(broker.store, scale, Choice(runs=(key,))), scale, time.time())


def page(broker: Broker) -> str:
    """The newest run as ``skyloom ui`` shows it: what happened on which machines, against the plan."""
    asked = Asked(broker.store, broker.settings, {"key": broker.store.plan_keys()[-1]})
    return PAGES["/run"](asked).text


def picture(pages: Mapping[str, str]) -> str:
    """One page with those of all engines."""
    frames = "".join(
        f'<h1>{escape(name)}</h1><iframe sandbox title="{escape(name)}" srcdoc="{escape(text)}"></iframe>'
        for name, text in pages.items()
    )
    style = "body{font:1em sans-serif;margin:1em}iframe{width:100%;height:60em;border:1px solid #888}"
    head = f'<meta charset="utf-8"><title>The demo, as it went</title><style>{style}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{frames}</body></html>'
