"""``skyloom logs`` and ``cancel``: one job, or several, by whatever they are called."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sky_core.cli.records.choosing import JobArgument, RunOption, job_called
from sky_core.cli.terminal import complain, console, pass_on, say
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Job


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job is over.")] = False,
) -> None:
    """Print a job's events and log, the log byte for byte."""
    from sky_core.broker import Broker
    from sky_core.job.narrate import describe

    broker = Broker.open()
    broker.watch(
        job_called(broker, job).id,
        on_event=lambda event: console.print(
            Text(f"{_clock(event.at)} ", "dim") + Text(describe(event), "not dim"), soft_wrap=True
        ),
        on_output=pass_on,
        stop=lambda: not follow,
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def cancel(
    job: Annotated[list[str] | None, typer.Argument(help="Jobs, each by its id, its task, or RUN/TASK.")] = None,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every live job of the store, whoever submitted it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than one is ended.")] = False,
) -> None:
    """Cancel jobs and wait for their machines to be gone."""
    from sky_core.broker import Broker

    if bool(job) + (run is not None) + every != 1:
        raise SpecError("which jobs are to be cancelled?", cure="name them, or say --run RUN or --all")
    broker = Broker.open()
    meant = [job_called(broker, one) for one in job or []] or broker.store.jobs(plan_key=run, live=True)
    if not meant:
        raise SkyloomError("nothing is live there", cure="skyloom jobs --state live lists what is")
    if not job and len(meant) > 1 and not yes:
        typer.confirm(f"Cancel {len(meant)} jobs?", abort=True)
    asked = [one for one in meant if _ask(broker, one)]
    for one in asked:
        ended = broker.watch(one.id)
        say(f"{one.id}: {ended.state}; its machines are gone")
    if len(asked) < len(meant):
        raise typer.Exit(1)


def _ask(broker: Broker, job: Job) -> bool:
    if broker.cancel(job.id, "skyloom cancel"):
        return True
    complain(f"error: {job.id} is over, or was cancelled before (skyloom jobs shows its state)")
    return False
