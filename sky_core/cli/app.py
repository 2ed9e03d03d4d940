"""``skyloom plan | run | jobs | logs | cancel | gc | check | catalog | sandbox``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sky_core import __version__
from sky_core.cli import catalog, sandbox
from sky_core.errors import SkyloomError
from sky_core.spec import Objective

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="An intercloud broker for pipelines.")
app.add_typer(catalog.app, name="catalog")
app.add_typer(sandbox.app, name="sandbox")
console = Console()
errors = Console(stderr=True)

FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A flow, a DAG file or a YAML.")]
MinimizeOption = Annotated[str | None, typer.Option(help="cost (the default), time, or cost*time.")]
DeadlineOption = Annotated[str | None, typer.Option(help="For the whole pipeline, e.g. 6h.")]
BudgetOption = Annotated[float | None, typer.Option(help="USD for the whole pipeline.")]


def run() -> None:
    """Run the command line; a user's error is one line on stderr, not a traceback."""
    try:
        app()
    except SkyloomError as error:
        errors.print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)


def _objective(minimize: str | None, deadline: str | None, budget: float | None) -> Objective | None:
    """What the options ask for; None leaves it to the file."""
    if minimize is None and deadline is None and budget is None:
        return None
    return Objective(minimize=minimize or "cost", deadline=deadline, budget_usd=budget)


def _is_python(path: Path) -> bool:
    return path.suffix == ".py"


@app.command()
def plan(
    file: FileArgument,
    minimize: MinimizeOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
) -> None:
    """Plan a pipeline without launching anything: where each task would run, and what that would cost.

    Options, where given, stand in for what the file says of its objective.
    """
    from sky_core.broker import Broker
    from sky_core.cli.engines import engine_for
    from sky_core.planner.table import plan_view
    from sky_core.spec_yaml import load_pipeline

    objective = _objective(minimize, deadline, budget)
    if _is_python(file):
        made = engine_for(file).plan(file, objective)
    else:
        made = Broker.open().preview(load_pipeline(file), objective)
    console.print(plan_view(made))


@app.command(name="run")
def run_(
    file: FileArgument,
    minimize: MinimizeOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")] = False,
) -> None:
    """Run a pipeline to its end: plan, launch, follow, clean up. Ctrl-C cancels it and its machines."""
    from sky_core.cli.engines import engine_for

    if _is_python(file):
        succeeded = engine_for(file).run(file)
    else:
        succeeded = _run_yaml(file, _objective(minimize, deadline, budget), ask=not yes)
    raise typer.Exit(0 if succeeded else 1)


def _run_yaml(file: Path, objective: Objective | None, *, ask: bool) -> bool:
    from sky_core.broker import Broker
    from sky_core.broker.runner import PipelineRun
    from sky_core.job.narrate import describe
    from sky_core.planner.table import plan_view
    from sky_core.spec_yaml import load_pipeline

    broker = Broker.open()
    pipeline = load_pipeline(file)
    console.print(plan_view(broker.preview(pipeline, objective)))
    if ask and broker.settings.profile != "sandbox" and not typer.confirm("Launch?"):
        return False
    key = f"{pipeline.name}/{time.strftime('%Y-%m-%dT%H:%M:%S')}"
    following = PipelineRun(
        broker,
        key,
        pipeline,
        on_event=lambda task, event: console.print(f"[bold]{task}[/bold] {describe(event)}", highlight=False),
        on_log=lambda task, line: console.print(Text(f"{task} | ", style="dim") + Text(line)),
    )
    try:
        jobs = following.run(objective)
    except KeyboardInterrupt:
        following.cancel("interrupted at the terminal")
        console.print("cancelled; machines are being taken down (skyloom jobs shows when they are gone)")
        return False
    for job in jobs.values():
        if job.state != "succeeded":
            errors.print(f"[red]{job.task}: {job.state}: {job.result.get('error')}[/red]", highlight=False)
    console.print(f"bill: ${broker.bill(key).usd:.2f}")
    return len(jobs) == len(pipeline.tasks) and all(job.state == "succeeded" for job in jobs.values())


@app.command()
def jobs(limit: Annotated[int, typer.Option(help="How many, newest first.")] = 20) -> None:
    """List jobs: where they run, how far they are, what they have cost."""
    from sky_core.broker import Broker
    from sky_core.job.bill import make_bill

    broker = Broker.open()
    found = broker.store.jobs(limit=limit)
    if not found:
        console.print("no jobs yet")
        return
    lines = {line.job_id: line for line in make_bill(broker.store, broker.settings, found).lines}
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    for column in ("job", "task", "state", "try", "machine", "$", "plan"):
        # A job's id is there to be copied into the other commands; a machine takes two lines of its own.
        table.add_column(column, overflow="fold", no_wrap=column in ("job", "machine"))
    for job in found:
        placement = job.memory.get("placement") or {}
        place = (
            f"{placement['cloud']}/{placement['zone'] or placement['region']}\n{placement['instance_type']}"
            if placement
            else "-"
        )
        table.add_row(job.id, job.task, job.state, str(job.attempt), place, f"{lines[job.id].usd:.2f}", job.plan_key)
    console.print(table)


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="A job's id, as skyloom jobs prints it.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job is over.")] = False,
) -> None:
    """Print a job's events and log."""
    from sky_core.broker import Broker
    from sky_core.job.narrate import describe

    broker = Broker.open()
    try:
        broker.job(job)
    except KeyError:
        raise SkyloomError(f"there is no job {job!r}", cure="skyloom jobs lists them") from None
    broker.watch(
        job,
        on_event=lambda event: console.print(f"[dim]{_clock(event.at)}[/dim] {describe(event)}", highlight=False),
        on_log=lambda line: console.print(line, highlight=False, markup=False),
        stop=lambda: not follow,
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


@app.command()
def cancel(job: Annotated[str, typer.Argument(help="A job's id.")]) -> None:
    """Cancel a job; its machines are taken down."""
    from sky_core.broker import Broker

    broker = Broker.open()
    if not broker.cancel(job, "skyloom cancel"):
        raise SkyloomError(f"{job} is over, or was cancelled before", cure="skyloom jobs shows its state")
    ended = broker.watch(job)
    console.print(f"{job}: {ended.state}; its machines are gone")


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list.")] = False,
) -> None:
    """End machines that are ours and belong to no live job. Asks the clouds, not our records."""
    from sky_core.broker import Broker
    from sky_core.driver.sweep import collect

    broker = Broker.open()
    found = collect(broker.settings, broker.store, terminate=not dry_run)
    for instance in found.orphans:
        console.print(
            f"{'found' if dry_run else 'terminated'} {instance.cloud} {instance.id} ({instance.instance_type})"
        )
    for cloud, why in found.unreachable.items():
        errors.print(f"[yellow]{cloud} could not be asked: {why}[/yellow]", highlight=False)
    console.print(f"{len(found.orphans)} orphans, {len(found.in_use)} machines in use")
    raise typer.Exit(1 if found.unreachable else 0)


@app.command()
def check() -> None:
    """Say for each cloud whether it can be used, by making one authenticated call."""
    from sky_core.clouds import connect
    from sky_core.clouds.credentials import why_unusable
    from sky_core.config import Settings

    settings = Settings.load()
    usable = 0
    for name, config in settings.clouds.items():
        why = why_unusable(name, config)
        if why is None:
            try:
                connect(name, settings).check()
                usable += 1
            except SkyloomError as error:
                why = str(error)
        console.print(f"{name}: {'usable' if why is None else why}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if usable else 1)
