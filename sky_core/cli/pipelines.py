"""``skyloom run``: from a file to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.engines import ParamOption, SourceArgument, refuse_choice, run_of
from sky_core.cli.objective import (
    BudgetOption,
    DeadlineOption,
    MinimizeOption,
    is_python,
    objective_of,
    over,
)
from sky_core.cli.taskfiles import EnvFileOption, EnvOption, SecretOption, given_of, options_for, placed, tell
from sky_core.cli.terminal import agreed, complain, console, open_broker, say, show
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.spec import Objective, Pipeline
    from sky_core.spec_yaml import Loaded


def run(
    source: SourceArgument,
    minimize: MinimizeOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return at once.")] = False,
    key: Annotated[str | None, typer.Option(help="Go on with the run of this key where it stopped.")] = None,
    param: ParamOption = None,
    env: EnvOption = None,
    secret: SecretOption = None,
    env_file: EnvFileOption = None,
    detached: Annotated[bool, typer.Option("--detached", hidden=True)] = False,
) -> None:
    """Run a pipeline to its end: plan, launch, follow, clean up. Ctrl-C cancels it and its machines."""
    from sky_core.spec_yaml import load

    file = source.path
    refuse_choice(source, param)
    objective = objective_of(minimize, deadline, budget)
    if not is_python(file):
        loaded = load(file, given_of(env, secret, env_file))
        goal = over(objective, loaded.objective)
        succeeded = _run_yaml(file, loaded, goal, key, ask=not yes, detach=detach, detached=detached)
    elif objective is not None or detach or key is not None:
        raise SpecError(
            f"{file}: --minimize, --deadline, --budget, --key and --detach are for YAML files",
            cure="a flow says its limits to its SkyTaskRunner, a DAG in its default_args",
        )
    else:
        succeeded = run_of(source, param)
    raise typer.Exit(0 if succeeded else 1)


def _run_yaml(
    file: Path,
    loaded: Loaded,
    objective: Objective | None,
    key: str | None,
    *,
    ask: bool,
    detach: bool,
    detached: bool,
) -> bool:
    from sky_core.broker.runner import new_key
    from sky_core.broker.submission import check
    from sky_core.planner.view.table import plan_view

    broker, pipeline = open_broker(), loaded.pipeline
    if not detached:
        tell(loaded)
        for task in pipeline.tasks:  # all of them now: nothing is paid for that a later task could not use
            check(task, os.environ, Path.cwd())
        with placed(loaded):
            show(plan_view(broker.preview(pipeline, objective)))
        if ask and broker.settings.profile != "sandbox" and not agreed("Launch?"):
            return False
    key = key or new_key(pipeline.name)
    say(f"run {key}", "dim")
    if detach:
        broker.plan(key, pipeline, objective)
        _leave_running(broker, file, key, loaded)
        return True
    return _follow(broker, key, pipeline, objective, to_the_end=detached)


def _leave_running(broker: Broker, file: Path, key: str, loaded: Loaded) -> None:
    """Hand a planned run to a process of its own, which outlives this terminal."""
    path = broker.settings.home / "runs" / f"{key.replace('/', '_')}.log"
    path.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "sky_core.cli", "run", str(file), "--yes", "--key", key, "--detached"]
    command += options_for(loaded.given)
    with path.open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    say(f"it goes on by itself; its log is {path}")
    say(f"if this host goes down meanwhile: skyloom run {file} --key {key}")


def _follow(broker: Broker, key: str, pipeline: Pipeline, objective: Objective | None, *, to_the_end: bool) -> bool:
    from rich.text import Text

    from sky_core.broker.runner import PipelineRun
    from sky_core.job.narrate import describe

    following = PipelineRun(
        broker,
        key,
        pipeline,
        on_event=lambda task, event: console().print(
            Text(task, "bold") + Text(f" {describe(event)}", "not bold"), soft_wrap=True
        ),
        on_log=lambda task, line: console().print(Text(f"{task} | ", "dim") + Text(line, "not dim"), soft_wrap=True),
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
