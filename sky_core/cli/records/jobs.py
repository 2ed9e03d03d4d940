"""``skyloom jobs``, ``logs`` and ``cancel``: what is under way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from sky_core.cli.terminal import complain, console, pass_on, say, show
from sky_core.errors import SkyloomError

if TYPE_CHECKING:
    from sky_core.broker import Broker


def jobs(limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20) -> None:
    """List jobs: where they run, how far they are, what they have cost."""
    from sky_core.broker import Broker
    from sky_core.job.bill import make_bill
    from sky_core.job.memory import placement_of
    from sky_core.remote.keys import team_key

    broker = Broker.open()
    found = broker.store.jobs(limit=limit)
    if not found:
        say("no jobs yet")
        return
    lines = {line.job_id: line for line in make_bill(broker.store, broker.settings, found).lines}
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for column in ("job", "task", "state", "try", "machine", "$", "plan"):
        # A job's id is there to be copied into the other commands; a machine takes two lines of its own.
        table.add_column(column, overflow="fold", no_wrap=column in ("job", "machine"))
    for job in found:
        at = placement_of(job)
        place = f"{at.cloud}/{at.zone or at.region}\n{at.instance_type}" if at else "-"
        table.add_row(job.id, job.task, job.state, str(job.attempt), place, f"{lines[job.id].usd:.2f}", job.plan_key)
    show(table)
    here = team_key(broker.settings).id
    for job in found:
        if not job.over and job.key_id not in (None, here):
            complain(f"{job.id} waits for a driver with the team key {job.key_id}; this home has {here}", "yellow")


def logs(
    job: Annotated[str, typer.Argument(help="A job's id, as skyloom jobs prints it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job is over.")] = False,
) -> None:
    """Print a job's events and log, the log byte for byte."""
    from sky_core.job.narrate import describe

    broker = broker_of(job)
    broker.watch(
        job,
        on_event=lambda event: console.print(
            Text(f"{_clock(event.at)} ", "dim") + Text(describe(event), "not dim"), soft_wrap=True
        ),
        on_output=pass_on,
        stop=lambda: not follow,
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def cancel(job: Annotated[str, typer.Argument(help="A job's id.")]) -> None:
    """Cancel a job; its machines are taken down."""
    broker = broker_of(job)
    if not broker.cancel(job, "skyloom cancel"):
        raise SkyloomError(f"{job} is over, or was cancelled before", cure="skyloom jobs shows its state")
    ended = broker.watch(job)
    say(f"{job}: {ended.state}; its machines are gone")


def broker_of(job: str) -> Broker:
    """The broker, if its store has the job.

    Raises:
        SkyloomError: if it has not.
    """
    from sky_core.broker import Broker

    broker = Broker.open()
    try:
        broker.job(job)
    except KeyError:
        raise SkyloomError(f"there is no job {job!r}", cure="skyloom jobs lists them") from None
    return broker
