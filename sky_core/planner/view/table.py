"""A plan as people read it in a terminal or a log: a table, bars over time, and what it was chosen over."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from io import StringIO

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sky_core.planner.plan import Placement, Plan
from sky_core.planner.view import words
from sky_core.planner.view.document import money_by_cloud

MOST_BARS = 60  # of a plan with more tasks only the critical path is drawn
MOST_GROUPS = 8  # of tasks that are told the same
FULL, FAINT, LATE = "█", "▒", "·"  # on the critical path, off it, and what a task could be late
HOURS = "hours"
WIDTH = 100  # columns for bars where nothing limits them
PLAIN = {FULL: "#", FAINT: "=", LATE: "."}


def plan_view(plan: Plan) -> Group:
    """The plan for a rich console: a row per task and the sum, bars over time, and what it was chosen over."""
    bars = Bars(plan) if plan.schedule else ""
    return Group(_table(plan), bars, Text("\n".join(_notes(plan))))


def plan_text(plan: Plan, width: int = 140) -> str:
    """The same as plain text, for logs."""
    console = Console(file=StringIO(), width=width, no_color=True, force_terminal=False, markup=False)
    console.print(plan_view(plan))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


class Bars:
    """A Gantt chart as wide as the console."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as it may be, but where it is piped into a file."""
        return Measurement(min(WIDTH, options.max_width), min(WIDTH, options.max_width))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A line per task, under the hours at which the plan begins and ends."""
        schedule, total = self.plan.schedule, self.plan.hours or 1.0
        critical = {name for name, span in schedule.items() if span.slack < words.MINUTE}
        shown = list(schedule) if len(schedule) <= MOST_BARS else [name for name in schedule if name in critical]
        names = min(max(len(name) for name in [*shown, HOURS]), max(8, options.max_width // 4))
        width = max(10, options.max_width - names - 1)
        end = f"{self.plan.hours:.2f} h"
        said = "" if len(shown) == len(schedule) else f" (the {len(shown)} tasks on the critical path)"
        yield Text(f"{HOURS:<{names}} 0{said}{end:>{max(1, width - 1 - len(said))}}", style="dim", no_wrap=True)
        for name in shown:
            span = schedule[name]
            start, stop, late = (
                round(width * hours / total) for hours in (span.start, span.end, span.end + span.slack)
            )
            body = (FULL if name in critical else FAINT) * max(1, min(stop, width) - min(start, width - 1))
            line = f"{' ' * min(start, width - 1)}{body}{LATE * (0 if name in critical else min(late, width) - stop)}"
            if not options.encoding.startswith("utf"):
                line = "".join(PLAIN.get(letter, letter) for letter in line)
            label = name if len(name) <= names else f"{name[: names - 1]}~"
            yield Text(f"{label:<{names}} {line}", no_wrap=True, overflow="crop")
        yield Text("")


def _table(plan: Plan) -> Table:
    table = Table(title=f"Plan of {plan.pipeline} ({words.goal(plan)})", title_justify="left", box=box.SIMPLE_HEAD,
                  padding=0)  # fmt: skip
    for column in ("task", "where", "machine"):  # these fold where the terminal is narrow; none is cut off
        table.add_column(column, overflow="fold", min_width=7)
    table.add_column("market", no_wrap=True)
    for column in ("hours", "compute", "egress"):
        table.add_column(column, justify="right", no_wrap=True)
    for placement in plan.placements.values():
        table.add_row(*_row(placement))
    table.add_section()
    egress = sum(placement.egress_usd for placement in plan.placements.values())
    table.add_row("total", "", "", "", "", words.money(plan.cost_usd - egress), words.money(egress))
    return table


def _row(placement: Placement) -> list[str]:
    accelerator = f" {placement.accelerator}:{placement.accelerator_count:g}" if placement.accelerator else ""
    nodes = f" x{placement.num_nodes}" if placement.num_nodes > 1 else ""
    if placement.changing:
        nodes = f" x{placement.num_nodes}-{placement.num_nodes + placement.changing}"
    return [
        placement.task,
        f"{placement.cloud}/{placement.zone or placement.region}",
        f"{placement.instance_type}{nodes}{accelerator}",
        f"{placement.market}+spot" if placement.changing and not placement.use_spot else placement.market,
        f"{placement.hours:.2f}",
        words.money(placement.compute_usd),
        words.money(placement.egress_usd),
    ]


def _notes(plan: Plan) -> list[str]:
    """What stands below: money by cloud, single-cloud plans, the saving, the proof, guesses, what is to be set up."""
    notes = [f"This plan: {words.money(plan.cost_usd)} in {plan.hours:.2f} h. {_money(plan)}.",
             f"One cloud alone: {_alone(plan)}."]  # fmt: skip
    notes += [f"{saving}." for saving in (words.saving(plan),) if saving]
    lost = {name: f"{other.machine}, {words.why_it_lost(other)}" if other else words.why_it_lost(None)
            for name, other in plan.next_best.items()}  # fmt: skip
    notes += _grouped("Next best for", lost.items())
    notes.append(f"{words.proof(plan)}; prices of catalog {plan.catalog_version}.")
    sources = {placement.hours_source for placement in plan.placements.values()}
    notes.append(f"Run times from: {', '.join(sorted(sources))}.")
    notes += [f"{_sentence(remark, plan)}." for remark in plan.remarks]
    notes += _grouped("Not told:", ((told.task, words.guess(told, named=False)) for told in plan.guesses))
    notes += [
        f"{'To be set up' if cloud in plan.alone else 'Left out'}: {cloud} ({why})."
        for cloud, why in plan.left_out.items()
    ]
    return notes


def _sentence(remark: str, plan: Plan) -> str:
    """With a capital letter, unless it begins with the name of a task."""
    named = re.split("[:, ]", remark, maxsplit=1)[0] in plan.placements
    return remark if named else f"{remark[0].upper()}{remark[1:]}"


def _money(plan: Plan) -> str:
    parts = []
    for paid in sorted(money_by_cloud(plan), key=lambda paid: -(paid.compute_usd + paid.egress_usd)):
        data = f" ({words.money(paid.egress_usd)} for data that leaves it)" if paid.egress_usd >= words.CENT else ""
        parts.append(f"{paid.cloud} {words.money(paid.compute_usd + paid.egress_usd)}{data}")
    return f"Paid to {', '.join(parts)}"


def _alone(plan: Plan) -> str:
    parts = []
    for cloud, alone in plan.alone.items():
        if alone.cost_usd is None:
            parts.append(f"{cloud} {alone.why or 'could not do it'}")
        else:
            time = "" if alone.hours is None else f" in {alone.hours:.2f} h"
            parts.append(f"{cloud} {words.money(alone.cost_usd)}{time}")
    return "; ".join(parts) or "not looked at"


def _grouped(head: str, told: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each thing that is told, with all the tasks that are told it."""
    tasks: dict[str, list[str]] = defaultdict(list)
    for task, text in told:
        tasks[text].append(task)
    lines = []
    for text, names in tasks.items():
        more = f" and {len(names) - 3} more" if len(names) > 4 else ""
        lines.append(f"{head} {', '.join(names[:3] if more else names)}{more}: {text}.")
    if len(lines) > MOST_GROUPS:
        lines = [*lines[:MOST_GROUPS], f"({len(lines) - MOST_GROUPS} lines more of this kind in --html and --json)"]
    return lines
