"""``skyloom catalog``: what the clouds sell, where, at what price; what is reserved is in :mod:`.account`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sky_core.cli.terminal import complain, console, new_table, say, show
from sky_core.cli.terminal.spinner import spinner

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from sky_core.catalog import Catalog
    from sky_core.catalog.refresh import Result
    from sky_core.catalog.stats import Spread

app = typer.Typer(no_args_is_help=True, help="What the clouds sell, where, at what price.")

PICTURE_WIDTH = 60
BARS = " ▁▂▃▄▅▆▇█"
EXAMPLES_SHOWN = 5
NUMBERS = {"GiB", "vCPUs", "regions", "rows", "types", "with spot price"}
NAMES = {"region", "where", "machine"}  # what a user copies stays in one piece

AcceleratorsArgument = Annotated[list[str] | None, typer.Argument(help='e.g. "V100:4" or "tpu-v3-8".')]
SpotOption = Annotated[bool, typer.Option("--spot", help="Rank by spot price.")]
CloudOption = Annotated[list[str] | None, typer.Option("--cloud", help="Only this cloud (may be repeated).")]
RegionOption = Annotated[str | None, typer.Option(help='e.g. "eu-*" or "us-east-1,us-west-2".')]


def _table(*columns: str, **options: Any) -> Table:
    """An empty table that folds what does not fit, rather than cutting names that a user wants to copy."""
    table = new_table(**options)
    for name in columns:
        justify: Literal["left", "right"] = "right" if "$" in name or name in NUMBERS else "left"
        table.add_column(name, overflow="fold", justify=justify, no_wrap=name in NAMES)
    return table


@app.command("show")
def show_offerings(
    accelerators: AcceleratorsArgument = None,
    cpus: Annotated[str | None, typer.Option(help='e.g. "8", "8+" or "8-16".')] = None,
    memory: Annotated[str | None, typer.Option(help='GiB, e.g. "32+".')] = None,
    instance_type: Annotated[str | None, typer.Option(help='e.g. "m6i.*".')] = None,
    cloud: CloudOption = None,
    region: RegionOption = None,
    use_spot: SpotOption = False,
    limit: Annotated[int, typer.Option(help="How many lines, cheapest first.")] = 20,
) -> None:
    """List the cheapest offerings, and draw how prices spread over zones. With nothing asked for: all accelerators."""
    spinner.say("reading the catalog")
    from sky_core.catalog import Catalog
    from sky_core.spec import Resources

    catalog = Catalog.load()
    if not any((accelerators, cpus, memory, instance_type)):
        show(_accelerators(catalog))
        return
    counted = [each for name in accelerators or () for each in _every_count(catalog, name)]
    wanted = Resources(
        accelerators=counted or None, cpus=cpus, memory=memory, instance_type=instance_type, cloud=cloud,
        region=region, use_spot=use_spot,
    )  # fmt: skip
    found = catalog.query(wanted, task="show")
    show(_offerings(found, limit))
    show(_picture(found, "spot_price" if use_spot else "price"))


def _every_count(catalog: Catalog, accelerator: str) -> list[str]:
    """What is asked for; a name without a number means as many as there are on a machine, and some come in eights only.

    Raises:
        UnknownAccelerator: if the catalog has none of that name.
    """
    import polars as pl

    from sky_core.catalog.names import resolve

    if ":" in accelerator:
        return [accelerator]
    name = resolve(accelerator, catalog.accelerators)
    rows = catalog.table.filter(pl.col("accelerator") == name)
    return [f"{name}:{count:g}" for count in rows["accelerator_count"].unique().sort()]


def _accelerators(catalog: Catalog) -> Table:
    import polars as pl

    rows = catalog.table.filter(pl.col("accelerator").is_not_null())
    lines = rows.group_by("accelerator").agg(
        pl.col("device_memory_gib").first(),
        pl.col("accelerator_count").unique().sort(),
        pl.col("cloud").cast(pl.String).unique().sort(),
        pl.col("region").n_unique(),
        (pl.col("price") / pl.col("accelerator_count")).min().alias("price"),
    )
    table = _table("accelerator", "GiB", "counts", "clouds", "regions", "from $/h each")
    for row in lines.sort(pl.col("accelerator").cast(pl.String)).iter_rows(named=True):
        counts = " ".join(f"{count:g}" for count in row["accelerator_count"])
        memory, price = _figure(row["device_memory_gib"]), _figure(row["price"], "#.3g")
        table.add_row(row["accelerator"], memory, counts, " ".join(row["cloud"]), str(row["region"]), price)
    return table


def _offerings(found: pl.DataFrame, limit: int) -> Table:
    import polars as pl

    alike = ["cloud", "region", "instance_type", "accelerator", "accelerator_count", "price", "spot_price"]
    lines = found.group_by(alike, maintain_order=True).agg(pl.col("zone"), pl.all().exclude("zone").first())
    table = _table("cloud", "region", "zones", "machine", "accel.", "vCPUs", "GiB", "$/h", "spot $")
    for row in lines.head(limit).iter_rows(named=True):
        table.add_row(
            row["cloud"],
            row["region"],
            _zones(row["region"], row["zone"]),
            row["instance_type"],
            f"{row['accelerator']}:{row['accelerator_count']:g}" if row["accelerator"] else "",
            _figure(row["vcpus"]),
            _figure(row["memory_gib"]),
            _figure(row["price"], "#.4g"),
            _figure(row["spot_price"], "#.4g"),
        )
    shown = min(limit, lines.height)
    oldest, newest = str(found["as_of"].min()), str(found["as_of"].max())
    table.caption = f"{shown} of {lines.height} lines; prices of {oldest} to {newest}"
    return table


def _zones(region: str, zones: list[str | None]) -> str:
    return " ".join(sorted(zone.removeprefix(region).lstrip("-") for zone in zones if zone)) or "any"


def _figure(value: float | None, spec: str = "g") -> str:
    return "?" if value is None else format(value, spec)


def _picture(found: pl.DataFrame, column: str) -> Table:
    """How many zones sell at which price, a strip for each cloud, on one logarithmic scale."""
    import numpy as np
    import polars as pl

    from sky_core.catalog.stats import cheapest_by_place, with_places

    prices = cheapest_by_place(with_places(found), column)
    low, high = float(prices[column][0]), float(prices[column][-1])
    edges = np.geomspace(low, max(high, low * 1.0001), PICTURE_WIDTH + 1)
    edges[0], edges[-1] = 0, np.inf
    title = f"cheapest {column.replace('_', ' ')} in each of {prices.height} zones"
    table = _table("cloud", "zones", f"${low:#.4g} … ${high:#.4g} per hour (x{high / low:.1f})", title=title)
    for cloud in prices["cloud"].cast(pl.String).unique().sort():
        here = prices.filter(prices["cloud"] == cloud)[column].to_numpy()
        counts = np.histogram(here, edges)[0]
        heights = np.ceil(counts / max(1, counts.max()) * (len(BARS) - 1)).astype(int)
        table.add_row(str(cloud), str(here.size), "".join(BARS[height] for height in heights))
    return table


@app.command()
def compare(
    accelerators: Annotated[list[str], typer.Argument(help='e.g. "V100:4" "A100:8" "tpu-v3-8".')],
    region: RegionOption = None,
) -> None:
    """Set accelerators side by side: cheapest price in each cloud, and what an hour at full speed costs."""
    spinner.say("reading the catalog")
    from sky_core.catalog import Catalog
    from sky_core.errors import NoFeasibleOffering

    catalog = Catalog.load()
    table = _table("accel.", "cloud", "where", "machine", "$/h", "spot $/h", "$ per PFLOP/s-hour")
    for wanted in accelerators:
        try:
            lines = _cheapest_in_each_cloud(catalog, wanted, region)
        except NoFeasibleOffering as error:
            if len(accelerators) == 1:
                raise
            lines = [(wanted, "-", "", f"none: {error.emptied_by}", "", "", "")]
        for line in lines:
            table.add_row(*line)
    show(table)


def _cheapest_in_each_cloud(catalog: Catalog, wanted: str, region: str | None) -> list[tuple[str, ...]]:
    from sky_core.estimate.hardware import peak_tflops
    from sky_core.spec import Resources

    found = catalog.query(Resources(accelerators=wanted, region=region), task="compare")
    spots = found.filter(found["spot_price"].is_not_null()).sort("spot_price", maintain_order=True)
    lines: list[tuple[str, ...]] = []
    for row in found.unique("cloud", keep="first", maintain_order=True).iter_rows(named=True):
        spot = spots.filter(spots["cloud"] == row["cloud"])["spot_price"].head(1).to_list()
        peak = peak_tflops(row["accelerator"], row["accelerator_count"])
        place = str(row["zone"] or row["region"])
        cost = _figure(row["price"] / peak * 1000 if peak else None, "#.3g")
        machine = str(row["instance_type"])
        prices = _figure(row["price"], "#.4g"), _figure(spot[0] if spot else None, "#.4g")
        lines.append((wanted, str(row["cloud"]), place, machine, *prices, cost))
    return lines


@app.command()
def stats() -> None:
    """What the catalog covers, and the dissertation's Table 4.5 for it beside the dissertation's figures."""
    spinner.say("reading the catalog")
    from sky_core.catalog import Catalog
    from sky_core.catalog.stats import coverage, table_4_5

    catalog = Catalog.load()
    covered = coverage(catalog.table)
    table = _table(*(name.replace("_", " ") for name in covered.columns), title=f"catalog {catalog.version}")
    for row in covered.iter_rows():
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
    show(table)
    say(f"{catalog.table.height:,} rows (cloud, zone, machine); the dissertation: over 76,000 in 294 zones")

    table = _table("kind", "zones", "price max/min", "CV", "spot max/min", "CV", title="Table 4.5: here (dissertation)")
    for line in table_4_5(catalog.table):
        pairs = (line.price, line.paper_price), (line.spot, line.paper_spot)
        figures = [text for here, paper in pairs for text in _beside(here, paper)]
        table.add_row(line.kind, f"{line.zones} ({line.paper_price.zones})", *figures)
    show(table)


def _beside(here: Spread | None, paper: Spread) -> tuple[str, str]:
    if here is None:
        return f"? ({paper.ratio:.1f})", f"? ({paper.cv:.0%})"
    return f"{here.ratio:.1f} ({paper.ratio:.1f})", f"{here.cv:.0%} ({paper.cv:.0%})"


@app.command()
def refresh(
    cloud: CloudOption = None,
    source: Annotated[
        str, typer.Option(help="api (each cloud's own), gpuhunt, skypilot, or a CSV file or URL in SkyPilot's format.")
    ] = "api",
) -> None:
    """Take today's prices from live sources. A source that fails changes nothing."""
    spinner.say("reading the catalog")
    from sky_core.catalog import Catalog
    from sky_core.catalog.refresh import refresh as refresh_from
    from sky_core.catalog.refresh.choose import sources
    from sky_core.config import Settings

    settings = Settings.load()
    known = Catalog.load(settings.home)
    chosen = sources(settings, source, cloud or [])
    with console().status("refreshing") as status:
        results = refresh_from(settings.home, chosen, known.table, status.update)
    for result in results:
        _report(result)
    say(f"catalog {Catalog.load(settings.home).version}")
    raise typer.Exit(1 if all(result.refused for result in results) else 0)


def _report(result: Result) -> None:
    if result.refused:
        complain(f"{result.source}: refused: {result.refused}")
    else:
        say(f"{result.source}: {result.rows:,} rows, {result.changed:,} prices changed")
    most: list[tuple[str, Any]] = sorted(result.rejected.items(), key=lambda item: -item[1])
    for reason, count in most[:EXAMPLES_SHOWN]:
        example = result.examples[reason]
        say(f"  left out {count:,}: {reason} ({example})")
