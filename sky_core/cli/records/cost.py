"""``skyloom cost``: what was spent, and on what."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sky_core.cli.records.choosing import moment
from sky_core.cli.terminal import new_table, open_broker, open_records, say, show, write, write_rows
from sky_core.cli.terminal.schemas import CsvOption, JsonOption, one_of, schema_option
from sky_core.cli.terminal.spinner import spinner
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.job.cost.charges import Charge
    from sky_core.job.cost.document import Saved
    from sky_core.job.cost.groups import Dimension, Group

AMOUNTS = ("jobs", "hours", "compute_usd", "egress_usd", "usd", "so_far", "idle_usd")
HEADS = ("jobs", "hours", "machines $", "egress $", "$ ")
COPIED = ("run", "job")  # ids that go into other commands stay in one piece


def cost(
    by: Annotated[
        str | None,
        typer.Option(help='"pipeline" unless said; one or more of them: "cloud", "day,cloud", "label:team".'),
    ] = None,
    since: Annotated[str | None, typer.Option(help="The first day (UTC) that counts: 2026-11-26, or 7d.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    saved: Annotated[
        bool, typer.Option("--saved", help="Also plan against bill, and what spot and choosing among clouds saved.")
    ] = False,
    focus: Annotated[bool, typer.Option("--focus", help="Print all charges as CSV in the FOCUS format.")] = False,
    schema: Annotated[bool, schema_option("sky_core.job.cost.document:CostDocument")] = False,
) -> None:
    """Say what was spent, machines and egress, by pipeline, task, person, cloud, market, day or label, among others.

    The sum is that of the bills of all jobs in the store; "so far" where machines may still run.
    """
    one_of(as_json, as_csv, focus)
    store, scale = open_records()
    from sky_core.job.cost.charges import charges
    from sky_core.job.cost.groups import Label, grouped, total

    if focus and by is not None:
        raise SpecError("--focus has every charge by itself: it takes no --by", cure="leave out one of them")
    dimensions, first = _dimensions(by or "pipeline"), _day(since)
    whose = focus or any(name == "person" or isinstance(name, Label) for name in dimensions)
    found = charges(store, scale, first=first, whose=whose)
    if focus:
        _write_focus(found)
        return
    groups, everything = grouped(found, dimensions), total(found)
    spared = _saved(first) if saved else None
    if as_json:
        from sky_core.job.cost.document import CostDocument

        write(CostDocument.of(groups, everything, dimensions, first, spared).model_dump_json(indent=2) + "\n")
    elif as_csv:
        _write_csv(groups, dimensions)
    elif groups:
        _show(groups, everything, dimensions)
    else:
        say("nothing was spent" if first is None else f"nothing was spent since {first}")
    if spared is not None and not (as_json or as_csv):
        _show_saved(spared)


def _saved(first: str | None) -> Saved:
    broker = open_broker()
    from sky_core.overview.savings import savings

    spinner.say("reading the plans")
    since = None if first is None else datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp()
    return savings(broker.store, broker.settings, since)


def _dimensions(by: str) -> list[Dimension]:
    return [_dimension(name) for name in dict.fromkeys(name.strip() for name in by.split(","))]


def _dimension(name: str) -> Dimension:
    from sky_core.job.cost.groups import COLUMNS, Label

    kind, _, key = name.partition(":")
    if kind == "label" and key:
        return Label(key)
    for column in COLUMNS:
        if name == column:
            return column
    from sky_core.spec import did_you_mean

    cure = did_you_mean(name, COLUMNS) or f"there are {', '.join(COLUMNS)}, and label:KEY for the labels of tasks"
    raise SpecError(f"--by: nothing is added up by {name!r}", cure=cure)


def _day(since: str | None) -> str | None:
    if since is None:
        return None
    return datetime.fromtimestamp(moment(since, "--since"), UTC).date().isoformat()


def _write_csv(groups: Sequence[Group], by: Sequence[Dimension]) -> None:
    rows = ([*group.key, *(getattr(group, name) for name in AMOUNTS)] for group in groups)
    write_rows([*map(str, by), *AMOUNTS], rows)


def _write_focus(found: list[Charge]) -> None:
    from sky_core.config import Settings
    from sky_core.job.cost.focus import focus_rows

    settings = Settings.load()
    spinner.stop()
    rows: csv.DictWriter[str] | None = None
    for row in focus_rows(found, {name: config.account for name, config in settings.clouds.items()}):
        if rows is None:
            rows = csv.DictWriter(sys.stdout, list(row), lineterminator="\n")
            rows.writeheader()
        rows.writerow(row)


def _show(groups: Sequence[Group], everything: Group, by: Sequence[Dimension]) -> None:
    table = new_table(show_footer=len(groups) > 1)
    footer = ["all", *[""] * (len(by) - 1), *_amounts(everything)]
    for name, last in zip([*map(str, by), *HEADS], footer, strict=True):
        justify: Literal["left", "right"] = "right" if name in HEADS else "left"
        table.add_column(name, last, overflow="fold", no_wrap=name in COPIED, justify=justify)
    for group in groups:
        table.add_row(*group.key, *_amounts(group))
    show(table)
    if everything.idle_usd:
        say(f"of it {everything.idle_usd:.2f} for machines that were kept and idle")
    if everything.so_far:
        say("so far: machines of what is marked + may still run")


def _show_saved(saved: Saved) -> None:
    from sky_core.planner.view.words import money

    runs = f"{saved.runs:,} run{'' if saved.runs == 1 else 's'} that are over"
    say(f"{runs}: {money(saved.usd)} of {money(saved.planned_usd)} planned")
    say(f"saved by choosing among clouds, against the best one alone by the plans: {money(saved.by_moving_usd)}")
    spot = "not known, or none bought" if saved.by_spot_usd is None else money(saved.by_spot_usd)
    say(f"saved by spot, against today's on-demand prices: {spot}")


def _amounts(spent: Group) -> list[str]:
    usd = f"{spent.usd:.2f}" + ("+" if spent.so_far else " ")
    return [str(spent.jobs), f"{spent.hours:.2f}", f"{spent.compute_usd:.2f}", f"{spent.egress_usd:.2f}", usd]
