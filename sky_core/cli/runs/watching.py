"""Running a pipeline in front of whoever asked for it, and leaving it to a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sky_core.cli.runs.interrupts import Interrupts, LeftRunning
from sky_core.cli.runs.screen import Screen, summary
from sky_core.cli.taskfiles import options_for
from sky_core.cli.terminal import complain, say
from sky_core.errors import SkyloomError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.spec import Objective, Pipeline
    from sky_core.spec_yaml import Loaded

BEGUN = b"1"


def watch_run(
    broker: Broker,
    key: str,
    pipeline: Pipeline,
    objective: Objective | None = None,
    *,
    detached: int | None = None,
    again: bool = False,
    leave: Callable[[], None] | None = None,
) -> bool:
    """Run it, and show it meanwhile; True if all of it succeeded.

    Args:
        detached: What :func:`hand_over` listens to until it has begun; its jobs are then wanted even if this process
            should die.
        again: Whether tasks that failed in an earlier run of the key are tried anew.
        leave: Hands it to somebody else; without it, Ctrl-C does not ask.
    """
    from sky_core.broker.runner import PipelineRun

    first = broker.plan(key, pipeline, objective)
    screen = Screen(broker, key, first)
    interrupts = Interrupts(screen)
    tells = [] if detached is None else [detached]

    def turn() -> None:
        while tells:
            with os.fdopen(tells.pop(), "wb") as begun:
                begun.write(BEGUN)
        screen.turn()
        interrupts.turn()

    following = PipelineRun(
        broker, key, pipeline, on_event=screen.told, on_log=screen.printed, on_turn=turn,
        to_the_end=detached is not None, leaves=(LeftRunning,), again=again,
    )  # fmt: skip
    try:
        with screen.shown(), interrupts.heard(able=leave is not None):
            jobs = following.run(objective)
            turn()
    except KeyboardInterrupt:
        say("cancelled; machines are being taken down (skyloom jobs shows when they are gone)")
        return False
    except LeftRunning:
        assert leave is not None
        leave()
        return True
    for job in jobs.values():
        if job.state != "succeeded":
            complain(f"{job.task}: {job.state}: {job.result.get('error')}")
    summary(broker, key, first)
    succeeded = len(jobs) == len(pipeline.tasks) and all(job.state == "succeeded" for job in jobs.values())
    if not succeeded:
        say(f"skyloom retry {key} goes on with it; with --file FILE, by a file that was mended")
    return succeeded


def leave_running(broker: Broker, file: Path, key: str, loaded: Loaded) -> None:
    """Hand the run of a file to a process of its own, which outlives this terminal."""
    hand_over(broker, key, ["run", str(file), "--yes", "--key", key, *options_for(loaded.given)])
    say(f"if this host goes down meanwhile: skyloom run {file} --key {key}")


def hand_over(broker: Broker, key: str, command: list[str]) -> None:
    """Let a process of its own go on with a planned run, by that command; it has read its files when this returns.

    Raises:
        SkyloomError: if it did not begin.
    """
    path = broker.settings.home / "runs" / f"{key.replace('/', '_')}.log"
    path.parent.mkdir(exist_ok=True)
    heard, begun = os.pipe()
    with path.open("ab") as log, os.fdopen(begun, "wb"):
        subprocess.Popen(
            [sys.executable, "-m", "sky_core.cli", *command, "--detached", str(begun)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(begun,),
        )  # fmt: skip
    with os.fdopen(heard, "rb") as answer:
        if answer.read() != BEGUN:
            raise SkyloomError(f"run {key} did not begin: {path} says why", cure="mend it, then start it again")
    say(f"it goes on by itself; its log is {path}")
    say(f"come back to it: skyloom attach {key}")
