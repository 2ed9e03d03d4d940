"""The embedded snapshot: factored tables in, one flat table out.

``shapes`` (one row per machine type and accelerator), ``rates`` (one row per shape and region, with a bit
mask of the region's zones) and ``zones`` (one row per region and zone). Three joins give the catalog; the
factors are about 300 KB where the flat table is 20 MB of text.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from sky_core.catalog.schema import SCHEMA

DATA = Path(__file__).parent / "data"


def read_snapshot(folder: Path = DATA) -> pl.DataFrame:
    """The flat table of a snapshot, with the columns of :data:`~sky_core.catalog.schema.SCHEMA`."""
    names = {name: dtype for name, dtype in SCHEMA.items() if isinstance(dtype, pl.Categorical)}

    def read(table: str) -> pl.LazyFrame:
        frame = pl.read_parquet(folder / f"{table}.parquet")
        return frame.with_columns(pl.col(name).cast(names[name]) for name in frame.columns if name in names).lazy()

    sources = read_sources(folder)
    dates = pl.LazyFrame(
        {"source": list(sources), "as_of": [date.fromisoformat(item["as_of"]) for item in sources.values()]},
        schema_overrides={"source": SCHEMA["source"]},
    )
    rates = read("rates")
    zones = read("zones")
    in_zones = rates.filter(pl.col("zone_mask") > 0).join(zones, on="region_id").filter(
        (pl.col("zone_mask") // pl.col("zone_bit")) % 2 == 1
    )  # fmt: skip
    anywhere = rates.filter(pl.col("zone_mask") == 0).join(read("regions"), on="region_id")
    flat = pl.concat([in_zones, anywhere], how="diagonal").join(read("shapes"), on="shape_id").join(dates, on="source")
    return flat.select(*SCHEMA).collect()


def read_sources(folder: Path = DATA) -> dict[str, Any]:
    """Where the figures come from: name of a source -> its date and description."""
    sources: dict[str, Any] = json.loads((folder / "sources.json").read_text())
    return sources
