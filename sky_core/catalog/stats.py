"""How offerings and prices spread over zones: the dissertation's Table 4.5 for this catalog.

A zone is an availability zone of AWS or GCP, or a region of Azure (the dissertation's catalog had no Azure zones).
A zone's price is its cheapest offering of the kind; "8 cores" are general-purpose machines with 8 vCPUs and
32 GiB that do not burst. Withdrawn machines count: the table is about what the catalog covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from sky_core.catalog.schema import parse_labels
from sky_core.facts import clouds


@dataclass(frozen=True)
class Spread:
    """Prices of one kind of machine over zones.

    Attributes:
        zones: Zones with a price.
        ratio: Dearest zone over cheapest.
        cv: Standard deviation over mean.
    """

    zones: int
    ratio: float
    cv: float


@dataclass(frozen=True)
class Line:
    """One line of the table: this catalog's spreads beside the dissertation's (zones, ratio, CV).

    Attributes:
        zones: Zones that offer the kind, with or without a known price.
    """

    kind: str
    zones: int
    price: Spread | None
    spot: Spread | None
    paper_price: Spread
    paper_spot: Spread


TABLE_4_5: dict[str, tuple[Spread, Spread]] = {
    "AMD 8 cores": (Spread(146, 2.5, 0.16), Spread(146, 7.3, 0.59)),
    "Arm 8 cores": (Spread(88, 2.1, 0.12), Spread(88, 2.5, 0.17)),
    "Intel 8 cores": (Spread(248, 1.6, 0.12), Spread(248, 9.4, 0.39)),
    "K80:1": (Spread(56, 9.5, 0.48), Spread(56, 5.9, 0.60)),
    "T4:1": (Spread(146, 1.7, 0.12), Spread(146, 10.8, 0.29)),
    "V100:1": (Spread(79, 1.6, 0.14), Spread(79, 1.9, 0.19)),
    "A100:8": (Spread(46, 1.9, 0.23), Spread(46, 6.4, 0.84)),
    "tpu-v2-8:1": (Spread(5, 1.2, 0.06), Spread(5, 1.2, 0.06)),
    "tpu-v3-8:1": (Spread(4, 1.1, 0.04), Spread(4, 1.1, 0.04)),
}
"""The dissertation's figures (Table 4.5: over 76,000 entries in 294 zones)."""

BURSTING = r"^t\d|^Standard_B|flex|^e2"


def table_4_5(table: pl.DataFrame) -> list[Line]:
    """Table 4.5 for a catalog's table, line by line."""
    lines = []
    for kind, (paper_price, paper_spot) in TABLE_4_5.items():
        rows = with_places(table.filter(_of_kind(table, kind)))
        here = spread(rows, "price"), spread(rows, "spot_price")
        lines.append(Line(kind, rows["place"].n_unique(), *here, paper_price, paper_spot))
    return lines


def _of_kind(table: pl.DataFrame, kind: str) -> pl.Expr:
    name, colon, count = kind.partition(":")
    if colon:
        return (pl.col("accelerator") == name) & (pl.col("accelerator_count") == float(count))
    maker = name.split(" ")[0].lower()
    labels = [text for text in table["labels"].unique() if parse_labels(text) == {"cpu": maker}]
    shape = (pl.col("vcpus") == 8) & (pl.col("memory_gib") == 32) & pl.col("accelerator").is_null()
    bursting = pl.col("instance_type").cast(pl.String).str.contains(BURSTING)
    return shape & pl.col("labels").cast(pl.String).is_in(labels) & ~bursting


def with_places(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column ``place``: the zone where the cloud counts by zones and it is known, else the region."""
    by_region = (
        pl.col("cloud").cast(pl.String).is_in([name for name, facts in clouds().items() if not facts.spot_zones])
    )
    zone = pl.when(by_region).then(None).otherwise(pl.col("zone").cast(pl.String))
    return rows.with_columns(pl.coalesce(zone, pl.col("region").cast(pl.String)).alias("place"))


def cheapest_by_place(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """The cheapest price of each place, columns ``cloud``, ``place`` and ``column``; unknown prices left out."""
    return rows.filter(pl.col(column).is_not_null()).group_by("cloud", "place").agg(pl.col(column).min()).sort(column)


def spread(rows: pl.DataFrame, column: str) -> Spread | None:
    """How the cheapest price varies over places; None where no price is known."""
    prices = cheapest_by_place(rows, column)[column].to_numpy()
    if prices.size == 0:
        return None
    cv = float(prices.std(ddof=1) / prices.mean()) if prices.size > 1 else 0.0
    return Spread(prices.size, float(prices.max() / prices.min()), cv)


def coverage(table: pl.DataFrame) -> pl.DataFrame:
    """What the catalog covers by cloud: rows, machine types, regions, zones, rows with a spot price, oldest and
    newest date."""
    return (
        table.group_by("cloud")
        .agg(
            pl.len().alias("rows"),
            pl.col("instance_type").n_unique().alias("types"),
            pl.col("region").n_unique().alias("regions"),
            pl.col("zone").drop_nulls().n_unique().alias("zones"),
            pl.col("spot_price").is_not_null().sum().alias("with_spot_price"),
            pl.col("as_of").min().alias("oldest"),
            pl.col("as_of").max().alias("newest"),
        )
        .sort("cloud")
    )
