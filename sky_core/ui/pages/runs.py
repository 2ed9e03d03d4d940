"""Runs, one run, its plan; jobs, one job."""

from __future__ import annotations

from sky_core.job.narrate import describe
from sky_core.overview.glance import look
from sky_core.overview.jobs import job_rows, with_money
from sky_core.overview.runs import newest_plan, newest_rows, run_rows, timeline
from sky_core.planner.view.page import Progress, plan_page
from sky_core.planner.view.page.scales import ticks
from sky_core.store import Choice
from sky_core.store.records import LIVE, STATES
from sky_core.ui.answers import Answer, Asked, Missing
from sky_core.ui.pages.drawing import drawn

A_PAGE = 50
LOG_TAIL = 200_000  # bytes of a log that a page shows
MOST_EVENTS = 500
NO_RUN = "there is no plan {!r} here, or none that this version can read"


def runs_page(asked: Asked) -> Answer:
    """All runs, the one begun last first, below what is live now."""
    choice, page = _choice(asked), asked.number("page", 1, 10**6)
    scale = asked.settings.scale
    rows = run_rows(asked.store, scale, choice, limit=A_PAGE, skip=A_PAGE * (page - 1))
    count = asked.store.count_runs(choice)
    return drawn("runs", asked, glance=look(asked.store, scale), rows=rows, **_paged(asked, page, count))


def run_page(asked: Asked) -> Answer:
    """One run: what happened when and where, against its first plan."""
    key = asked.query.get("key", "")
    found = timeline(asked.store, asked.settings.scale, key)
    if found is None:
        raise Missing(NO_RUN.format(key))
    total = found.hours or 1.0
    axis = [(100 * hours / total, hours) for hours in ticks(0, found.hours)] if found.hours else []
    return drawn("run", asked, run=found, axis=axis, percent=lambda hours: min(100.0, 100 * hours / total))


def plan_of_run(asked: Asked) -> Answer:
    """The newest plan of a run, as a page of its own."""
    key = asked.query.get("key", "")
    plan = newest_plan(asked.store, key)
    if plan is None:
        raise Missing(NO_RUN.format(key))
    rows = newest_rows(asked.store, asked.settings.scale, key)
    progress = {task: Progress(row.job.state, row.spent.usd) for task, row in rows.items()}
    return Answer(plan_page(plan, key, progress))


def jobs_page(asked: Asked) -> Answer:
    """Jobs, the newest first."""
    choice, page = _choice(asked), asked.number("page", 1, 10**6)
    rows = job_rows(asked.store, asked.settings.scale, choice, limit=A_PAGE, skip=A_PAGE * (page - 1))
    count = sum(asked.store.count_jobs(choice).values())
    return drawn("jobs", asked, rows=rows, **_paged(asked, page, count))


def job_page(asked: Asked) -> Answer:
    """One job: its machines, its events, the end of its log."""
    job_id = asked.query.get("id", "")
    found = [job for job in asked.store.called(job_id, 1) if job.id == job_id]
    if not found:
        raise Missing(f"there is no job {job_id!r}")
    (row,) = with_money(asked.store, asked.settings.scale, found)
    told = [(event.at, describe(event)) for event in asked.store.events(row.job.id)]
    log = asked.store.log(row.job.id)
    return drawn(
        "job", asked, row=row, told=told[-MOST_EVENTS:], more=max(0, len(told) - MOST_EVENTS),
        log=log[-LOG_TAIL:].decode(errors="replace"), cut=len(log) > LOG_TAIL,
    )  # fmt: skip


def _choice(asked: Asked) -> Choice:
    said = asked.query.get("state", "")
    states = LIVE if said == "live" else tuple(state for state in STATES if state == said)
    return Choice(states=states, name=asked.query.get("name", "")[:200])


def _paged(asked: Asked, page: int, count: int) -> dict[str, object]:
    """What the form and the links to other pages need."""
    kept = {name: asked.query[name] for name in ("state", "name") if asked.query.get(name)}
    return {
        "count": count, "page": page, "pages": max(1, -(-count // A_PAGE)), "kept": kept,
        "states": ("live", *STATES),
    }  # fmt: skip
