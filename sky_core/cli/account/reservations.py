"""``skyloom catalog reservations``: what the accounts have reserved, and what of catalog.toml does not fit that."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.terminal import complain, new_table, say, show
from sky_core.cli.terminal.spinner import spinner
from sky_core.errors import SkyloomError

if TYPE_CHECKING:
    from sky_core.catalog import Catalog
    from sky_core.clouds.reservations import Held, Holdings
    from sky_core.config import Settings
    from sky_core.inventory import Machines

HEADS = ("cloud", "zone", "machine", "total", "free", "since", "until", "reservation", "kind")


def reservations(
    cloud: Annotated[list[str] | None, typer.Option("--cloud", help="Only this cloud (may be repeated).")] = None,
) -> None:
    """List what the accounts have reserved, and print the entries of catalog.toml by which jobs run there."""
    spinner.say("asking the clouds")
    from sky_core.catalog import Catalog
    from sky_core.clouds.reservations import stamp
    from sky_core.config import Settings
    from sky_core.inventory import Inventory

    settings = Settings.load()
    looks, refused = _looks(settings, cloud or [])
    for name, why in refused.items():
        complain(f"{name}: {why}", "yellow")
    held = [one for holdings in looks.values() for one in holdings.held]
    if not held:
        say("nothing is reserved")
        raise typer.Exit(1 if refused else 0)
    table = new_table(*HEADS)
    for one in held:
        begins, ends = ("" if at is None else stamp(at) for at in (one.begins, one.ends))
        place = (one.cloud, one.zone or one.region, one.instance_type)
        table.add_row(*place, str(one.total), str(one.free), begins, ends, one.name, one.kind)
    show(table)
    entries = [entry for entry in Inventory.read(settings.home).machines if entry.reservation is not None]
    missing = [one for one in held if one.by_name and not any(_is_of(one, entry, settings) for entry in entries)]
    if missing:
        say(f"to have jobs run there, put into {settings.home / 'catalog.toml'}:")
    catalog = Catalog.load(settings.home) if missing else None
    for one in missing:
        assert catalog is not None
        say("\n" + "\n".join(entry_of(one, catalog)))
    raise typer.Exit(1 if refused else 0)


def _looks(settings: Settings, clouds: list[str]) -> tuple[dict[str, Holdings], dict[str, str]]:
    """What each cloud that can be used holds, or those that are meant, and why others or parts could not be asked."""
    from sky_core.clouds import holdings
    from sky_core.clouds.credentials import why_unusable
    from sky_core.facts import facts_of

    looks: dict[str, Holdings] = {}
    refused: dict[str, str] = {}
    for name, config in settings.clouds.items():
        if facts_of(name).reservations is None or (clouds and name not in clouds):
            continue
        if (why := why_unusable(name, config)) is not None:
            refused |= {name: why} if name in clouds else {}
            continue
        try:
            looks[name] = holdings(name, settings)
            refused |= {f"{name} {place}": why for place, why in looks[name].unreachable.items()}
        except SkyloomError as error:
            refused[name] = str(error)
    return looks, refused


def entry_of(held: Held, catalog: Catalog) -> Iterator[str]:
    """The lines of an entry ``[[machines]]``; what the catalog does not know of the machine is left to be filled in."""
    import polars as pl

    from sky_core.clouds.reservations import stamp

    yield "[[machines]]"
    yield f'cloud = "{held.cloud}"'
    yield f'region = "{held.region}"'
    if held.zone is not None:
        yield f'zone = "{held.zone}"'
    yield f'instance_type = "{held.instance_type}"'
    names = pl.col("cloud", "instance_type").cast(pl.String)
    rows = catalog.table.select(names, "vcpus", "memory_gib", "accelerator", "accelerator_count")
    rows = rows.filter(pl.col("cloud") == held.cloud, pl.col("instance_type") == held.instance_type)
    # Where accelerators are attached to a machine of that name, the bare one is meant until somebody says otherwise.
    row = next(rows.sort("accelerator_count", nulls_last=False).iter_rows(named=True), None)
    yield f"vcpus = {row['vcpus']:g}" if row else "vcpus = # how many it has"
    yield f"memory_gib = {row['memory_gib']:g}" if row else "memory_gib = # how many it has"
    if row and row["accelerator"]:
        yield f'accelerators = "{row["accelerator"]}:{row["accelerator_count"]:g}"'
    yield "price = 0  # USD per hour: it is paid for"
    yield f"count = {held.total}"
    yield f'reservation = "{held.name}"'
    if held.begins is not None:
        yield f"since = {stamp(held.begins)}"
    if held.ends is not None:
        yield f"until = {stamp(held.ends)}"


def amiss_in(name: str, settings: Settings) -> Iterator[str]:
    """What entries of catalog.toml say of a cloud's reservations and the account does not.

    Raises:
        CloudError: if the account cannot be asked.
    """
    from sky_core.clouds import holdings
    from sky_core.clouds.reservations import amiss

    entries = _entries(name, settings)
    if not entries:
        return
    named = [entry.reservation or "" for entry in entries.values()]
    there = holdings(name, settings, {entry.region for entry in entries.values()}, named)
    seen: dict[tuple[str | None, ...], int] = {}
    for number, entry in entries.items():
        first = seen.setdefault((_own_name(entry, settings), entry.zone, entry.instance_type), number)
        again = f"named twice: machines.{first} has the same machines; leave one" if first != number else ""
        if why := amiss(entry, there) or again:
            yield f"catalog.toml: machines.{number}: reservation {entry.reservation}: {why}"


def to_come_in(name: str, settings: Settings) -> Iterator[str]:
    """When a cloud's reservations begin of which catalog.toml says that they are to come."""
    from sky_core.clouds.reservations import stamp

    for number, entry in _entries(name, settings).items():
        if entry.since is not None and entry.since.timestamp() > time.time():
            begins = f"begins at {stamp(entry.since.timestamp())}; nothing is planned there before"
            yield f"catalog.toml: machines.{number}: reservation {entry.reservation}: {begins}"


def _entries(name: str, settings: Settings) -> Mapping[int, Machines]:
    """The entries of a cloud's reservations, by their number in catalog.toml."""
    from sky_core.inventory import Inventory

    machines = enumerate(Inventory.read(settings.home).machines)
    return {number: entry for number, entry in machines if entry.cloud == name and entry.reservation is not None}


def _is_of(held: Held, entry: Machines, settings: Settings) -> bool:
    """Whether an entry is of those machines: several of one name hold other types or zones."""
    there = (held.cloud, held.name.lower(), held.zone, held.instance_type)
    return there == (entry.cloud, _own_name(entry, settings), entry.zone, entry.instance_type)


def _own_name(entry: Machines, settings: Settings) -> str:
    """What an entry's reservation is called at home: Google Cloud knows one by a project's name, too."""
    known = settings.clouds.get(entry.cloud)
    project = known.account if known else None
    return (entry.reservation or "").lower().removeprefix(f"projects/{project}/reservations/")
