"""A run while it goes on: a table of its tasks, kept up to date below what they say. Piped, what they say alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from sky_core.cli.terminal import console, new_table, say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from sky_core.broker import Broker
    from sky_core.overview.against import Against
    from sky_core.overview.now import RunNow, TaskNow
    from sky_core.planner.plan import Plan
    from sky_core.store import Event

HEADS = ("task", "state", "machine", "try", "done", "$", "of plan $", "left")
GIVES_WAY = "machine"  # where the screen is narrow
LONGEST = 16  # letters of a name or number that are shown wherever there is room for anything
NUMBERS = ("try", "done", "$", "of plan $", "left")
EARLIER = " " * len("23:59:59")
LOOK_S = 1.0  # between two looks at the store
AROUND = 10  # lines of a screen that are not rows of tasks
MOST_REASONS = 6
WORTH_TELLING = 0.02  # of plan or bill, whichever is more
CENT = 0.01
MOST_SHARE = 2  # the table takes one part of so many of the screen
ORDER = (
    "running",
    "recovering",
    "provisioning",
    "stopping",
    "submitted",
    "waiting",
    "failed",
    "cancelled",
    "succeeded",
)


class Screen:
    """What is seen of a run.

    Args:
        alive: Whether a table is kept up to date; by default on a terminal.
    """

    def __init__(self, broker: Broker, key: str, plan: Plan, *, alive: bool | None = None) -> None:
        self._broker, self._key, self._plan = broker, key, plan
        self._alive = console().is_terminal if alive is None else alive
        self._live: Live | None = None
        self._looked = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """As long as the table is on the screen."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """As long as somebody else has the screen."""
        self._end()
        try:
            yield
        finally:
            self._begin()

    def told(self, task: str, event: Event) -> None:
        """Something has happened."""
        from rich.text import Text

        from sky_core.job.narrate import describe

        self._print(Text(f"{clock(event.at)} ", "dim") + Text(task, "bold") + Text(f" {describe(event)}", "not bold"))
        if event.kind == "replanned":
            self._plan = self._newest()

    def printed(self, task: str, line: str, *, now: bool = True) -> None:
        """A task has printed a line, just ``now`` or at some time before; a gang's have their rank in them."""
        from rich.text import Text

        self._print(Text(f"{clock(time.time()) if now else EARLIER} {task} | ", "dim") + Text(line, "not dim"))

    def turn(self) -> None:
        """Look again, if it is time to."""
        if self._live is not None and time.monotonic() - self._looked >= LOOK_S:
            self._live.update(Board(self._now()), refresh=True)
            self._looked = time.monotonic()

    def _print(self, text: Text) -> None:
        console().print(text, soft_wrap=True)

    def _begin(self) -> None:
        if self._alive:
            from rich.live import Live

            self._live = Live(console=console(), auto_refresh=False, transient=True)
            self._live.start()
            self._looked = 0.0

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _now(self) -> RunNow:
        from sky_core.overview.now import run_now
        from sky_core.overview.runs import newest_rows

        now = time.time()
        scale = self._broker.settings.scale
        return run_now(self._plan, newest_rows(self._broker.store, scale, self._key, now), scale, now)

    def _newest(self) -> Plan:
        from sky_core.overview.runs import newest_plan

        return newest_plan(self._broker.store, self._key) or self._plan


class Board:
    """The table, cut to what there is room for: what goes on first."""

    def __init__(self, run: RunNow) -> None:
        self.run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Tasks, and the sums below them."""
        from rich.text import Text

        room = max(3, options.max_height // MOST_SHARE - AROUND // 2)
        shown, more = self.run.tasks, ""
        if len(shown) > room:
            shown = tuple(sorted(shown, key=lambda task: ORDER.index(task.state)))[:room]
            more = f"; {len(self.run.tasks) - room} tasks more"
        yield table_of(shown)
        left = f"about {span(self.run.left_h)} left" if self.run.left_h else "almost over"
        yield Text(f"${self.run.usd:.2f} so far of ${self.run.planned_usd:.2f} planned; {left}{more}", "bold")


def table_of(tasks: tuple[TaskNow, ...]) -> Table:
    """A row for each task."""
    widths = [min(LONGEST, max(map(len, cells))) for cells in zip(HEADS, *map(_cells, tasks), strict=True)]
    table = new_table()
    for head, width in zip(HEADS, widths, strict=True):
        ends: Literal["left", "right"] = "right" if head in NUMBERS else "left"
        least = None if head == GIVES_WAY else width
        table.add_column(head, overflow="ellipsis", no_wrap=True, justify=ends, min_width=least)
    for cells in map(_cells, tasks):
        table.add_row(*cells)
    return table


def _cells(task: TaskNow) -> tuple[str, ...]:
    machine = f"{task.machine} ({task.market})" if task.market else task.machine
    done = "" if task.done is None else f"{task.done:.0%}"
    planned = "" if task.planned_usd is None else f"{task.planned_usd:.2f}"
    left = span(task.left_h) if task.left_h else ""
    return (task.task, task.state, machine, str(task.attempt or ""), done, f"{task.usd:.2f}", planned, left)


def summary(broker: Broker, key: str, first: Plan) -> None:
    """Say what the run has cost against its first plan, why that differs, and what was saved."""
    from sky_core.overview.against import against
    from sky_core.overview.jobs import job_rows
    from sky_core.overview.runs import newest_plan
    from sky_core.planner.view.words import money
    from sky_core.store import Choice

    scale, now = broker.settings.scale, time.time()
    rows = job_rows(broker.store, scale, Choice(runs=(key,)), now=now)
    found = against(first, newest_plan(broker.store, key) or first, rows, scale, now)
    say(f"bill: {money(found.usd)}; planned: {in_words(found)}")
    for reason in found.reasons[:MOST_REASONS]:
        if abs(reason.usd) >= WORTH_TELLING * max(found.planned_usd, found.usd):
            say(f"  {money(reason.usd, sign=True)}: {reason.task} {reason.why}")
    for what, other in _others(broker, key, found.alone):
        way = "less" if found.usd <= other else "more"
        say(f"{money(abs(other - found.usd))} {way} than {what} ({money(other)})")


def in_words(found: Against) -> str:
    """What was planned: at first, and once it was known what went wrong."""
    from sky_core.planner.view.words import money

    anew = abs(found.replanned_usd - found.planned_usd) >= CENT
    return money(found.planned_usd) + (f", then {money(found.replanned_usd)} by the newest plan" if anew else "")


def _others(broker: Broker, key: str, alone: tuple[str, float] | None) -> Iterator[tuple[str, float]]:
    """What else it could have cost, USD."""
    from sky_core.overview.savings import on_demand_usd

    if alone is not None:
        cloud, usd = alone
        yield f"{cloud} alone by the plan", usd
    certain = on_demand_usd(broker.store, broker.settings, key)
    if certain is not None:
        yield "the same machines on demand", certain


def clock(at: float) -> str:
    """A time of day, as it is here."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def span(hours: float) -> str:
    """So many hours, in few letters."""
    minutes = hours * 60
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"
