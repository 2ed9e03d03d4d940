"""``skyloom clusters`` and ``down``: machines that are kept for the next job."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.terminal import agreed, new_table, open_broker, open_records, say, show, stacked
from sky_core.cli.terminal.schemas import CsvOption, JsonOption, one_of, schema_option, write_listing
from sky_core.cli.terminal.spinner import spinner
from sky_core.errors import SkyloomError, SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Cluster

COLUMNS = ("name", "task", "machine", "$/h", "idle since", "ends at", "idle $")
LOOK_S = 0.5


def clusters(
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    schema: Annotated[bool, schema_option("sky_core.overview.documents:ClustersDocument")] = False,
) -> None:
    """List machines that are kept, idle, for the next job: until when, and what that costs."""
    one_of(as_json, as_csv)
    store, scale = open_records()
    from sky_core.overview.warm import kept_rows

    rows = kept_rows(store, scale)
    if any(row.gone for row in rows):  # nobody has seen it: no driver is there
        _look()
        rows = kept_rows(store, scale)
    if as_json or as_csv:
        from sky_core.overview.documents import ClusterEntry, ClustersDocument

        write_listing(ClustersDocument.of(rows), "clusters", ClusterEntry, as_csv=as_csv)
        return
    if not rows:
        say("no machines are kept (skyloom run --keep 30m keeps them)")
        return
    table = new_table()
    for column in COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "machine"))
    for row in rows:
        at = row.cluster
        gang = f" ×{at.num_nodes}" if at.num_nodes > 1 else ""
        ends = "ending" if row.ending else _clock(at.kept_until)
        machine = stacked(at.place, f"{at.instance_type}{gang}")
        since, costs = _clock(at.kept_at), (f"{row.usd_per_hour:.2f}", f"{row.idle_usd:.2f}")
        table.add_row(at.kept_as or "", row.task, machine, costs[0], since, ends, costs[1])
    show(table)


def down(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="As skyloom clusters has them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that is kept, whoever keeps it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before more than one is ended.")] = False,
) -> None:
    """End machines that are kept, and wait until they are gone. A job that runs is ended by skyloom cancel."""
    if names and every:
        raise SpecError(f"{', '.join(names)} and --all are both given", cure="say either")
    if not names and not every:
        raise SpecError("which machines are to be ended?", cure="name them as skyloom clusters does, or say --all")
    broker = open_broker()
    profile = broker.settings.profile
    kept = Counter(cluster.kept_as or "" for cluster in broker.store.kept_of(profile))
    for name in names or ():
        if name not in kept:
            raise SkyloomError(f"no machines are kept as {name!r}", cure="skyloom clusters lists what is")
    meant = sorted(set(names or kept))
    told = ", ".join(f"{name} (kept {kept[name]} times)" if kept[name] > 1 else name for name in meant)
    unnamed = sum(kept[name] for name in meant) > (1 if every else len(meant))
    if unnamed and not yes and not agreed(f"End {told}?"):
        raise typer.Exit(1)
    for name in meant:
        spinner.say(f"ending {name}")
        _wait(broker, broker.store.keep_no_longer(name, profile))
        say(f"{name}: its machines are gone")
    if not meant:
        say("no machines are kept")


def _look() -> None:
    """Ask the clouds after machines that have ended themselves by now, and set the record right."""
    broker = open_broker()
    from sky_core.driver.step import Clouds
    from sky_core.driver.warm.keeper import note_gone

    note_gone(Clouds(broker.settings), broker.store, broker.settings)


def _wait(broker: Broker, asked: list[Cluster]) -> None:
    """Until none of them is kept any more: ended, or taken by a job that was faster."""
    from sky_core.broker.spawn import ensure_driver

    left = {cluster.token for cluster in asked}
    while left:
        ensure_driver(broker.settings)
        time.sleep(LOOK_S)
        left &= {cluster.token for cluster in broker.store.kept()}


def _clock(at: float | None) -> str:
    return "" if at is None else time.strftime("%H:%M", time.localtime(at))
