"""``skyloom logs`` and ``cancel``: one job, or several, by whatever they are called."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.records.choosing import JobArgument, RunOption, job_called, moment
from sky_core.cli.records.sifting import Sieve
from sky_core.cli.terminal import agreed, complain, console, open_broker, pass_on, say
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sky_core.broker import Broker
    from sky_core.store import Event


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job is over.")] = False,
    since: Annotated[str | None, typer.Option(help="What came since: 2h, or a time (UTC) as 2026-11-26T10:00.")] = None,
    grep: Annotated[str | None, typer.Option(help="Only lines of the log that this pattern is found in.")] = None,
    rank: Annotated[int | None, typer.Option(help="Only lines of the log of this node of a gang.")] = None,
) -> None:
    """Print a job's events and log, the log byte for byte; with --grep or --rank, such lines of the log alone."""
    broker = open_broker()
    from rich.text import Text

    from sky_core.job.narrate import describe

    begin = 0.0 if since is None else moment(since, "--since")
    sieve = None if grep is None and rank is None else Sieve(grep, rank)
    meant = job_called(broker, job).id

    def tell(event: Event) -> None:
        if sieve is None and event.at >= begin:
            words = Text(f"{_clock(event.at)} ", "dim") + Text(describe(event), "not dim")
            console().print(words, soft_wrap=True)

    broker.watch(
        meant,
        on_event=tell,
        on_output=pass_on if sieve is None else lambda data: pass_on(sieve.feed(data)),
        stop=lambda: not follow,
        offset=broker.store.log_offset(meant, begin) if begin else 0,
    )
    if sieve is not None:
        pass_on(sieve.end())


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def cancel(
    job: Annotated[list[str] | None, typer.Argument(help="Jobs, each by its id, its task, or RUN/TASK.")] = None,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every live job of the store, whoever submitted it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than one is ended.")] = False,
) -> None:
    """Cancel jobs and wait for their machines to be gone."""
    from sky_core.store import Choice
    from sky_core.store.records import LIVE

    if bool(job) + (run is not None) + every != 1:
        raise SpecError("which jobs are to be cancelled?", cure="name them, or say --run RUN or --all")
    broker = open_broker()
    live = Choice(states=LIVE, runs=() if run is None else (run,))
    meant = [job_called(broker, one).id for one in job or []] or [one.id for one in broker.store.job_lines(live)]
    if not meant:
        raise SkyloomError("nothing is live there", cure="skyloom jobs --state live lists what is")
    if not job and len(meant) > 1 and not yes and not agreed(f"Cancel {len(meant)} jobs?"):
        raise typer.Exit(1)
    asked = [one for one in meant if _ask(broker, one)]
    for one in asked:
        ended = broker.watch(one, on_event=_what_it_waits_for(one))
        say(f"{one}: {ended.state}; its machines are gone")
    if len(asked) < len(meant):
        raise typer.Exit(1)


def _what_it_waits_for(job_id: str) -> Callable[[Event], None]:
    """Says, once each, why its machines are not gone yet."""
    from sky_core.events import TerminateFailed
    from sky_core.job.narrate import describe

    told: set[str] = set()

    def tell(event: Event) -> None:
        if isinstance(event.what, TerminateFailed) and event.what.error not in told:
            told.add(event.what.error)
            complain(f"{job_id}: {describe(event)}", "yellow")

    return tell


def _ask(broker: Broker, job_id: str) -> bool:
    if broker.cancel(job_id, "skyloom cancel"):
        return True
    complain(f"error: {job_id} is over, or was cancelled before (skyloom jobs shows its state)")
    return False
