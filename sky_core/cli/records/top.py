"""``skyloom top``: all live jobs and the money they cost, as they are now. A view of a glance at the store, no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sky_core.cli.terminal import console, new_table, open_records, show, write
from sky_core.cli.terminal.schemas import JsonOption, schema_option

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

    from sky_core.overview.glance import Glance
    from sky_core.overview.jobs import JobRow

HEADS = ("job", "task", "state", "try", "machine", "market", "$/h", "$", "since")
NUMBERS = ("try", "$/h", "$", "since")
AROUND = 9  # lines of a screen that are not rows of jobs
MINUTE, HOUR, DAY = 60, 3600, 86400


def top(
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; so it is wherever the output is piped.")] = False,
    as_json: JsonOption = False,
    schema: Annotated[bool, schema_option("sky_core.overview.documents:TopDocument")] = False,
) -> None:
    """Show all live jobs and what they cost, until Ctrl-C."""
    store, scale = open_records()
    from sky_core.overview.glance import look

    if as_json:
        from sky_core.overview.documents import TopDocument

        write(TopDocument.of(look(store, scale)).model_dump_json(indent=2) + "\n")
    elif once or not console().is_terminal:
        seen = look(store, scale)
        console().print(summary(seen), soft_wrap=True)
        if seen.live:
            show(table_of(seen))
    else:
        _stay(lambda: look(store, scale), every)


def _stay(look: Callable[[], Glance], every: float) -> None:
    from rich.live import Live

    with Live(Screen(look()), console=console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                live.update(Screen(look()), refresh=True)
        except KeyboardInterrupt:
            return


class Screen:
    """A glance, cut to what a screen holds."""

    def __init__(self, seen: Glance) -> None:
        self.seen = seen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The sums, as many jobs as there is room for, and how many more there are."""
        from rich.console import Group
        from rich.text import Text

        room = max(1, options.max_height - AROUND)
        more = len(self.seen.live) - room
        below = Text(f"and {more} more (skyloom jobs --state live)" if more > 0 else "", "dim")
        yield Group(summary(self.seen), table_of(self.seen, room) if self.seen.live else "", below)


def summary(seen: Glance) -> Text:
    """How many jobs are in each state, and what all of it costs."""
    from rich.text import Text

    counted = ", ".join(f"{count:,} {state}" for state, count in seen.states.items()) or "no jobs yet"
    clock = time.strftime("%H:%M:%S", time.localtime(seen.at))
    kept = f"\nof it ${seen.kept_usd_per_hour:.2f} for machines kept idle as {seen.kept_as} (skyloom clusters)"
    spent = f"${seen.usd_per_hour:.2f} an hour now, ${seen.usd_today:.2f} since midnight (UTC)"
    return Text(f"{clock}  {counted}\n{spent}{kept if seen.kept else ''}")


def table_of(seen: Glance, most: int | None = None) -> Table:
    """The live jobs, the dearest first."""
    table = new_table()
    for head in HEADS:
        ends: Literal["left", "right"] = "right" if head in NUMBERS else "left"
        table.add_column(head, overflow="ellipsis", no_wrap=True, justify=ends, min_width=20 if head == "job" else None)
    for row in seen.live[:most]:
        table.add_row(*_cells(row, seen.at))
    return table


def _cells(row: JobRow, now: float) -> list[str]:
    job, at = row.job, row.cluster
    many = f" ×{at.num_nodes}" if at and at.num_nodes > 1 else ""
    machine = f"{row.place} {at.instance_type}{many}" if at else "-"
    market = at.bought if at else ""
    money = [f"{row.usd_per_hour:.2f}", f"{row.spent.usd:.2f}"]
    return [job.id, job.task, job.state, str(job.attempt), machine, market, *money, ago(now - job.created_at)]


def ago(seconds: float) -> str:
    """A time span in few letters: ``42s``, ``7m``, ``3h``, ``5d``."""
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds // unit:.0f}{letter}"
    return f"{max(0.0, seconds):.0f}s"
