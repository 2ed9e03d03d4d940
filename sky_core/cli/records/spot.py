"""``skyloom spot explain``: why a job with a deadline was where it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.records.choosing import JobArgument, job_called
from sky_core.cli.terminal import console, new_table, open_broker, say, show
from sky_core.errors import SkyloomError

if TYPE_CHECKING:
    from rich.table import Table

    from sky_core.job.story import Story, Thought

app = typer.Typer(no_args_is_help=True, help="Jobs led by a spot policy.")


@app.callback()
def spot() -> None:
    """Jobs that a spot policy leads."""


@app.command()
def explain(
    job: JobArgument,
    svg: Annotated[Path | None, typer.Option(help="Also write the picture to this file.")] = None,
) -> None:
    """Show where a job was when, what its policy expected of that, and what else it could have cost."""
    broker = open_broker()
    from sky_core.job.memory import Memory
    from sky_core.job.story import tell
    from sky_core.job.story_picture import lanes
    from sky_core.job.story_picture import svg as drawn

    store, found = broker.store, job_called(broker, job)
    promise = Memory.model_validate(found.memory).promise
    if promise is None:
        raise SkyloomError(
            f"{found.id} is not led by a spot policy", cure="use_spot and a deadline, or a checkpoint, make it so"
        )
    story = tell(promise, store.events(found.id), store.clusters(job_id=found.id), broker.settings.scale, time.time())
    for line in lanes(story, max(20, min(72, console().width - 30))):
        say(line)
    show(_thoughts(story))
    say(f"${story.usd:.2f} so far, ${story.egress_usd:.2f} of it for moving data")
    for what, usd in story.beside.items():
        say(f"${usd:.2f} {what}")
    if svg is not None:
        svg.write_text(drawn(story))
        say(f"wrote {svg}")


def _thoughts(story: Story) -> Table:
    table = new_table("h", "chosen", "work left", "slack", "$ to the end", "instead", "$", "spot held likely in")
    for thought in story.thoughts:
        table.add_row(*_row(thought))
    return table


def _row(thought: Thought) -> list[str]:
    weighed = thought.weighed
    others = sorted((usd, what) for what, usd in weighed.usd.items() if what != weighed.chosen)
    usd, instead = (f"{others[0][0]:.2f}", others[0][1]) if others else ("", "")
    # Where the choice has no figure the safety net made it.
    mine = f"{weighed.usd[weighed.chosen]:.2f}" if weighed.chosen in weighed.usd else "no time for less"
    likely = ", ".join(f"{zone} {up:.0%}" for zone, up in sorted(weighed.up.items(), key=lambda pair: -pair[1]))
    return [
        f"{thought.at:.2f}",
        weighed.chosen,
        f"{weighed.left:.2f}",
        f"{weighed.slack:.2f}",
        mine,
        instead,
        usd,
        likely,
    ]
