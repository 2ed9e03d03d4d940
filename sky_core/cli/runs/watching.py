"""Running a pipeline in front of whoever asked for it, and leaving it to a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sky_core.cli.runs.interrupts import Interrupts, LeftRunning
from sky_core.cli.runs.screen import Screen, summary
from sky_core.cli.taskfiles import options_for
from sky_core.cli.terminal import complain, say

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.spec import Objective, Pipeline
    from sky_core.spec_yaml import Loaded


def watch_run(
    broker: Broker,
    key: str,
    pipeline: Pipeline,
    objective: Objective | None = None,
    *,
    to_the_end: bool = False,
    again: bool = False,
    leave: Callable[[], None] | None = None,
) -> bool:
    """Run it, and show it meanwhile; True if all of it succeeded.

    Args:
        to_the_end: Whether its jobs are wanted even if this process should die.
        again: Whether tasks that failed in an earlier run of the key are tried anew.
        leave: Hands it to somebody else; without it, Ctrl-C does not ask.
    """
    from sky_core.broker.runner import PipelineRun

    first = broker.plan(key, pipeline, objective)
    screen = Screen(broker, key, first)
    interrupts = Interrupts(screen)

    def turn() -> None:
        screen.turn()
        interrupts.turn()

    following = PipelineRun(
        broker, key, pipeline, on_event=screen.told, on_log=screen.printed, to_the_end=to_the_end, on_turn=turn,
        leaves=(LeftRunning,), again=again,
    )  # fmt: skip
    try:
        with screen.shown(), interrupts.heard(able=leave is not None):
            jobs = following.run(objective)
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
    """Let a process of its own go on with a planned run, by that command."""
    path = broker.settings.home / "runs" / f"{key.replace('/', '_')}.log"
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "sky_core.cli", *command, "--detached"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    say(f"it goes on by itself; its log is {path}")
    say(f"come back to it: skyloom attach {key}")
