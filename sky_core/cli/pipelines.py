"""``skyloom run``: from a file to its end."""

from __future__ import annotations

import os
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
from sky_core.cli.taskfiles import (
    ClusterOption,
    EnvFileOption,
    EnvOption,
    KeepOption,
    SecretOption,
    given_of,
    placed,
    tell,
)
from sky_core.cli.terminal import agreed, open_broker, say, show
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.planner.plan import Plan
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
    keep: KeepOption = None,
    cluster: ClusterOption = None,
    detached: Annotated[int | None, typer.Option("--detached", hidden=True)] = None,
) -> None:
    """Run a pipeline to its end: plan, launch, follow, clean up.

    Ctrl-C asks whether to cancel it or to leave it running; where nobody can answer, it cancels it and its machines.
    """
    from sky_core.spec_yaml import load

    file = source.path
    refuse_choice(source, param)
    objective = objective_of(minimize, deadline, budget)
    if not is_python(file):
        loaded = load(file, given_of(env, secret, env_file, keep=keep, cluster=cluster))
        goal = over(objective, loaded.objective)
        succeeded = _run_yaml(file, loaded, goal, key, ask=not yes, detach=detach, detached=detached)
    elif objective is not None or detach or key is not None or keep is not None or cluster is not None:
        raise SpecError(
            f"{file}: --minimize, --deadline, --budget, --key, --detach, --keep and --cluster are for YAML files",
            cure="a flow says its limits to its SkyTaskRunner, a DAG in its default_args; tasks say keep and cluster",
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
    detached: int | None,
) -> bool:
    from sky_core.broker.runner import new_key
    from sky_core.broker.submission import check
    from sky_core.cli.runs.watching import leave_running, watch_run
    from sky_core.planner.view.table import plan_view
    from sky_core.planner.view.words import money

    broker, pipeline = open_broker(), loaded.pipeline
    if detached is None:
        tell(loaded)
        for task in pipeline.tasks:  # all of them now: nothing is paid for that a later task could not use
            check(task, os.environ, Path.cwd())
        with placed(loaded):
            plan = broker.preview(pipeline, objective)
        show(plan_view(plan))
        price = f"about {money(plan.cost_usd)}{_and_idle(pipeline, plan)}"
        if ask and broker.settings.profile != "sandbox" and not agreed(f"Launch, for {price}?"):
            return False
    key = key or new_key(pipeline.name)
    say(f"run {key}", "dim")
    if detach:
        broker.plan(key, pipeline, objective)
        leave_running(broker, file, key, loaded)
        return True
    if detached is not None:
        return watch_run(broker, key, pipeline, objective, detached=detached)
    return watch_run(broker, key, pipeline, objective, leave=lambda: leave_running(broker, file, key, loaded))


def _and_idle(pipeline: Pipeline, plan: Plan) -> str:
    """What machines that are kept may cost beside what was planned, in words."""
    from sky_core.planner.view.words import money

    placed = [(task.keep, plan.placements[task.name]) for task in pipeline.tasks if task.keep is not None]
    usd = sum(hours * place.price * place.num_nodes for hours, place in placed)
    return f", and up to {money(usd)} for machines kept idle" if placed else ""
