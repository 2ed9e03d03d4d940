"""``skyloom jobs``: what there is on record of jobs, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.records.choosing import NameOption, RunOption, SinceOption, StateOption, choice_of
from sky_core.cli.terminal import complain, console, new_table, open_records, say, show, stacked
from sky_core.cli.terminal.schemas import CsvOption, JsonOption, one_of, schema_option, write_listing

if TYPE_CHECKING:
    from rich.table import Table

    from sky_core.overview.jobs import JobRow

COLUMNS = ("job", "task", "state", "try", "machine", "$", "run")


def jobs(
    state: StateOption = None,
    since: SinceOption = None,
    name: NameOption = "",
    run: RunOption = None,
    limit: Annotated[int, typer.Option(min=0, help="How many, newest first; 0 for all.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="Which of the pages of that many.")] = 1,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    schema: Annotated[bool, schema_option("sky_core.overview.documents:JobsDocument")] = False,
) -> None:
    """List jobs: where they run, how far they are, what they have cost."""
    one_of(as_json, as_csv)
    store, scale = open_records()
    from sky_core.overview.jobs import job_rows

    choice = choice_of(state, since, name, run)
    matching = sum(store.count_jobs(choice).values())
    rows = job_rows(store, scale, choice, limit=limit or None, skip=limit * (page - 1))
    if as_json or as_csv:
        from sky_core.overview.documents import JobEntry, JobsDocument

        write_listing(JobsDocument.of(rows, matching), "jobs", JobEntry, as_csv=as_csv)
        return
    if not rows:
        every = sum(store.count_jobs().values())
        say(f"no such jobs ({every} in all)" if every else "no jobs yet")
        return
    show(_table(rows))
    _say_what_waits(rows)
    if console().is_terminal and matching > len(rows):
        more = f"--page {page + 1} has the next" if matching > limit * page else "none follow"
        say(f"{len(rows)} of {matching}; {more}; skyloom top has what is live", "dim")


def _table(rows: Sequence[JobRow]) -> Table:
    table = new_table()
    for column in COLUMNS:
        # A job's id is there to be copied into the other commands; a machine takes two lines of its own.
        table.add_column(column, overflow="fold", no_wrap=column in ("job", "machine"))
    for row in rows:
        job, at = row.job, row.cluster
        place = stacked(row.place, at.instance_type) if at else "-"
        table.add_row(job.id, job.task, job.state, str(job.attempt), place, f"{row.spent.usd:.2f}", job.plan_key)
    return table


def _say_what_waits(rows: Sequence[JobRow]) -> None:
    waiting = [row.job for row in rows if not row.job.over and row.job.key_id is not None]
    if not waiting:
        return
    from sky_core.config import Settings
    from sky_core.remote.keys import team_key

    here = team_key(Settings.load()).id
    for job in waiting:
        if job.key_id != here:
            complain(f"{job.id} waits for a driver with the team key {job.key_id}; this home has {here}", "yellow")
