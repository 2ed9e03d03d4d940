"""``skyloom plan`` and ``skyloom run``: from a file to its end."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from sky_core.cli.terminal import complain, console, say
from sky_core.errors import SpecError
from sky_core.spec import Objective

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.spec import Pipeline

FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A flow, a DAG file or a YAML.")]
MinimizeOption = Annotated[str | None, typer.Option(help="cost (the default), time, or cost*time.")]
DeadlineOption = Annotated[str | None, typer.Option(help="For the whole pipeline, e.g. 6h.")]
BudgetOption = Annotated[float | None, typer.Option(help="USD for the whole pipeline.")]


def _objective(minimize: str | None, deadline: str | None, budget: float | None) -> Objective | None:
    """What the options ask for; None leaves it to the file."""
    if minimize is None and deadline is None and budget is None:
        return None
    return Objective(minimize=minimize or "cost", deadline=deadline, budget_usd=budget)


def _is_python(path: Path) -> bool:
    return path.suffix == ".py"


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
        pipeline = load_pipeline(file)
        made = Broker.open().preview(pipeline, objective, anywhere=True)
        unset = {name: task.name for task in pipeline.tasks for name in task.secrets if name not in os.environ}
        for name, task in unset.items():
            complain(f"Task.{task}: secrets: {name} is not set here; it has to be when the pipeline is run", "yellow")
    console.print(plan_view(made))


def run(
    file: FileArgument,
    minimize: MinimizeOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return at once.")] = False,
    key: Annotated[str | None, typer.Option(help="Go on with the run of this key where it stopped.")] = None,
    detached: Annotated[bool, typer.Option("--detached", hidden=True)] = False,
) -> None:
    """Run a pipeline to its end: plan, launch, follow, clean up. Ctrl-C cancels it and its machines."""
    from sky_core.cli.engines import engine_for

    objective = _objective(minimize, deadline, budget)
    if not _is_python(file):
        succeeded = _run_yaml(file, objective, key, ask=not yes, detach=detach, detached=detached)
    elif objective is not None or detach or key is not None:
        raise SpecError(
            f"{file}: --minimize, --deadline, --budget, --key and --detach are for YAML files",
            cure="a flow says its limits to its SkyTaskRunner, a DAG in its default_args",
        )
    else:
        succeeded = engine_for(file).run(file)
    raise typer.Exit(0 if succeeded else 1)


def _run_yaml(
    file: Path, objective: Objective | None, key: str | None, *, ask: bool, detach: bool, detached: bool
) -> bool:
    from sky_core.broker import Broker
    from sky_core.broker.submission import check
    from sky_core.planner.table import plan_view
    from sky_core.spec_yaml import load_pipeline

    broker, pipeline = Broker.open(), load_pipeline(file)
    if not detached:
        for task in pipeline.tasks:  # all of them now: nothing is paid for that a later task could not use
            check(task, os.environ, Path.cwd())
        console.print(plan_view(broker.preview(pipeline, objective)))
        if ask and broker.settings.profile != "sandbox" and not typer.confirm("Launch?"):
            return False
    key = key or new_key(pipeline.name)
    say(f"run {key}", "dim")
    if detach:
        broker.plan(key, pipeline, objective)
        _leave_running(broker, file, key)
        return True
    return _follow(broker, key, pipeline, objective, to_the_end=detached)


def new_key(name: str) -> str:
    """A key that no other run has, in order of time in any time zone."""
    return f"{name}/{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def _leave_running(broker: Broker, file: Path, key: str) -> None:
    """Hand a planned run to a process of its own, which outlives this terminal."""
    path = broker.settings.home / "runs" / f"{key.replace('/', '_')}.log"
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "sky_core.cli", "run", str(file), "--yes", "--key", key, "--detached"]
    with path.open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    say(f"it goes on by itself; its log is {path}")
    say(f"if this host goes down meanwhile: skyloom run {file} --key {key}")


def _follow(broker: Broker, key: str, pipeline: Pipeline, objective: Objective | None, *, to_the_end: bool) -> bool:
    from sky_core.broker.runner import PipelineRun
    from sky_core.job.narrate import describe

    following = PipelineRun(
        broker,
        key,
        pipeline,
        on_event=lambda task, event: console.print(Text(task, "bold") + Text(f" {describe(event)}", "not bold")),
        on_log=lambda task, line: console.print(Text(f"{task} | ", "dim") + Text(line, "not dim")),
        to_the_end=to_the_end,
    )
    try:
        jobs = following.run(objective)
    except KeyboardInterrupt:
        say("cancelled; machines are being taken down (skyloom jobs shows when they are gone)")
        return False
    for job in jobs.values():
        if job.state != "succeeded":
            complain(f"{job.task}: {job.state}: {job.result.get('error')}")
    say(f"bill: ${broker.bill(key).usd:.2f}")
    return len(jobs) == len(pipeline.tasks) and all(job.state == "succeeded" for job in jobs.values())
