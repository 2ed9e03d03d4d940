"""``skyloom attach`` and ``retry``: back to a run, by its key or by the beginning of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.runs.screen import Screen, summary
from sky_core.cli.runs.watching import hand_over, watch_run
from sky_core.cli.terminal import agreed, open_broker, say
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.planner.plan import Plan
    from sky_core.store import Event, Job

MOST_NAMED = 5  # runs in an error that asks which of them is meant
NEXT_S = 60.0  # for which the next task of a run is waited for when those before it are over

RunArgument = Annotated[str, typer.Argument(help="A run's key or its beginning, as skyloom jobs shows it.")]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return at once.")]


def attach(
    run: Annotated[str | None, typer.Argument(help="A run's key or its beginning; else the newest live one.")] = None,
) -> None:
    """Come back to a run, whoever started it: see it as skyloom run shows it. Ctrl-C leaves it running."""
    broker = open_broker()
    key = _newest_live(broker) if run is None else run_called(broker, run)
    plan = _plan_of(broker, key)
    try:
        succeeded = _watch(broker, key, plan)
    except KeyboardInterrupt:
        say(f"left; it goes on (skyloom attach {key} comes back, skyloom cancel --run {key} ends it)")
        return
    summary(broker, key, plan)
    raise typer.Exit(0 if succeeded else 1)


def retry(
    run: RunArgument,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Its YAML, if it was mended since.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")] = False,
    detach: DetachOption = False,
    detached: Annotated[int | None, typer.Option("--detached", hidden=True)] = None,
) -> None:
    """Go on with a run of skyloom run: try anew what failed or was cancelled, and start what never began.

    What has succeeded stays as it is, with its outputs; the plan and its deadline are those of the run. Start it in
    the folder that the run was started in.
    """
    from sky_core.broker.submission import check
    from sky_core.overview.runs import newest_rows
    from sky_core.spec import Pipeline
    from sky_core.spec_yaml import load

    broker = open_broker()
    key = run_called(broker, run)
    _plan_of(broker, key)
    stored = broker.store.plan(key)
    assert stored is not None
    rows = newest_rows(broker.store, broker.settings.scale, key)
    if any(row.job.task and not _ours(broker, key, row.job.id) for row in rows.values()):
        raise SpecError(f"{key} is the run of an engine", cure="retry it there: it knows what comes after")
    pipeline = Pipeline.model_validate_json(stored.pipeline) if file is None else load(file).pipeline
    left = [task for task in pipeline.tasks if task.name not in rows or rows[task.name].job.state != "succeeded"]
    if not left:
        raise SkyloomError(f"{key}: all its tasks have succeeded", cure="skyloom run starts another run")
    for task in left:
        check(task, os.environ, Path.cwd())
    say(f"again: {', '.join(task.name for task in left)}")
    if broker.settings.profile != "sandbox" and not yes and detached is None and not agreed("Launch?"):
        raise typer.Exit(1)

    def leave() -> None:
        hand_over(broker, key, ["retry", key, *(["--file", str(file)] if file else [])])

    if detach:
        leave()
        return
    over = all(row.job.over for row in rows.values())
    done = watch_run(broker, key, pipeline, again=over, detached=detached, leave=leave if detached is None else None)
    raise typer.Exit(0 if done else 1)


def run_called(broker: Broker, said: str) -> str:
    """The key of the run that is meant.

    Raises:
        SkyloomError: if none is, or more than one.
    """
    found = [said] if broker.store.plan(said) else broker.store.plan_keys(said)
    if len(found) == 1:
        return found[0]
    if not found:
        raise SkyloomError(f"there is no run {said!r}", cure="skyloom jobs shows their keys")
    named = ", ".join(found[-MOST_NAMED:])
    raise SkyloomError(f"{said!r} may be {named}{', and others' if len(found) > MOST_NAMED else ''}", cure="say more")


def _newest_live(broker: Broker) -> str:
    from sky_core.store import Choice
    from sky_core.store.records import LIVE

    runs = broker.store.run_lines(Choice(states=LIVE), limit=1)
    if not runs:
        raise SkyloomError("no run is live", cure="skyloom jobs shows those that were")
    return runs[0].key


def _plan_of(broker: Broker, key: str) -> Plan:
    from sky_core.overview.runs import newest_plan

    plan = newest_plan(broker.store, key)
    if plan is None:
        raise SkyloomError(f"{key}: its plan was written by another version", cure="skyloom jobs --run shows its jobs")
    return plan


def _ours(broker: Broker, key: str, job_id: str) -> bool:
    """Whether a job was submitted by ``skyloom run``, whose keys are those of their run and task."""
    job = broker.job(job_id)
    return job.key.partition("#")[0] == f"{key}/{job.task}"


def _watch(broker: Broker, key: str, plan: Plan) -> bool:
    """Show a run until it is over; whether all of it succeeded."""
    from sky_core.store import Choice

    screen = Screen(broker, key, plan)
    followed: dict[str, Iterator[tuple[Job, list[Event], list[str]]]] = {}
    jobs: dict[str, Job] = {}
    still = time.monotonic()
    with screen.shown():
        while True:
            for line in broker.store.job_lines(Choice(runs=(key,))):
                if line.id not in followed:
                    followed[line.id] = broker.follow(line.id)
            for job_id, follower in followed.items():
                if job_id in jobs and jobs[job_id].over:
                    continue
                known = job_id in jobs
                jobs[job_id], events, lines = next(follower)
                still = time.monotonic()
                for event in events:
                    screen.told(jobs[job_id].task, event)
                for text in lines:
                    screen.printed(jobs[job_id].task, text, now=known)
            tasks = {job.task: job for job in sorted(jobs.values(), key=lambda job: job.created_at)}
            if tasks and all(job.over for job in tasks.values()):
                succeeded = all(job.state == "succeeded" for job in tasks.values())
                if set(plan.placements) <= set(tasks) or not succeeded or time.monotonic() - still > NEXT_S:
                    return succeeded and set(plan.placements) <= set(tasks)
            screen.turn()
            time.sleep(min(broker.settings.poll_s, 1.0))
