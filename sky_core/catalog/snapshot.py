"""The embedded snapshot: factored tables in, one flat table out.

``shapes`` (one row per machine type and accelerator), ``regions``, ``zones`` (one row per region and zone) and
``rates`` (one row per shape and region, with a bit mask of the region's zones). Three joins give the catalog;
the factors take 300 KB where the flat table is 20 MB of text.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sky_core.catalog.schema import SCHEMA, whole

DATA = Path(__file__).parent / "data"


def read_snapshot(folder: Path = DATA) -> pl.DataFrame:
    """The flat table of a snapshot, with the columns of :data:`~sky_core.catalog.schema.SCHEMA`, in a fixed order."""

    def read(table: str) -> pl.LazyFrame:
        frame = pl.read_parquet(folder / f"{table}.parquet")
        return frame.with_columns(pl.col(name).cast(SCHEMA[name]) for name in frame.columns if name in SCHEMA).lazy()

    sources = read_sources(folder)
    days = [date.fromisoformat(item["as_of"]) for item in sources.values()]
    dates = pl.LazyFrame({"source": list(sources), "as_of": days}, schema_overrides={"source": SCHEMA["source"]})
    rates, zones = read("rates"), read("zones")
    in_zone = (pl.col("zone_mask") // pl.col("zone_bit")) % 2 == 1
    zoned = rates.filter(pl.col("zone_mask") > 0).join(zones, on="region_id", maintain_order="left").filter(in_zone)
    anywhere = rates.filter(pl.col("zone_mask") == 0)
    flat = (
        pl.concat([zoned, anywhere], how="diagonal")
        .join(read("regions"), on="region_id", maintain_order="left")
        .join(read("shapes"), on="shape_id", maintain_order="left")
        .join(dates, on="source", maintain_order="left")
    )
    return whole(flat.collect())


def read_sources(folder: Path = DATA) -> dict[str, Any]:
    """Where the figures come from: name of a source -> its date and description."""
    sources: dict[str, Any] = json.loads((folder / "sources.json").read_text())
    return sources
