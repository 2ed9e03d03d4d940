"""Newer rows over older ones: settled once when they come in, laid over the snapshot at each load."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from sky_core.catalog.schema import KIND, SCHEMA

Place = tuple[str, str]  # cloud, region
KEPT = ("interruption", "device_memory_gib", "labels", "access", "vcpus", "memory_gib", "arch", "spot_price", "price")
"""Columns whose older value stands where the newer row has none."""


def settle(newer: pl.DataFrame, base: pl.DataFrame) -> pl.DataFrame:
    """The newer rows made whole with what ``base`` knows.

    A row without a zone speaks of the type in its whole region: it takes over the zones that ``base`` knows, if
    any. What a row leaves open stays as it was in its zone, else in its region.
    """
    kinds = list(KIND)
    zones = base.filter(pl.col("zone").is_not_null()).select(*kinds, pl.col("zone").alias("known_zone")).unique()
    everywhere = newer.filter(pl.col("zone").is_null())
    everywhere = everywhere.join(zones, on=kinds, how="left", nulls_equal=True, maintain_order="left")
    everywhere = everywhere.with_columns(pl.col("known_zone").alias("zone")).select(*SCHEMA)
    settled = pl.concat([newer.filter(pl.col("zone").is_not_null()), everywhere])
    return _fill(_fill(settled, base, [*kinds, "zone"]), base, kinds)


def _fill(newer: pl.DataFrame, base: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Take what ``newer`` leaves open from the row of ``base`` with the same key."""
    older = base.select(*key, *KEPT).unique(key, keep="first", maintain_order=True)
    joined = newer.join(older, on=key, how="left", nulls_equal=True, maintain_order="left", suffix="_older")
    return joined.with_columns(pl.coalesce(name, f"{name}_older").alias(name) for name in KEPT).select(*SCHEMA)


def overlay(base: pl.DataFrame, newer: pl.DataFrame, complete: Iterable[Place] = ()) -> pl.DataFrame:
    """``base`` with the (settled) rows of ``newer`` in place of all rows of their :data:`~schema.KIND`.

    Rows older than those in ``base`` are dropped.

    Args:
        complete: (cloud, region) pairs of which ``newer`` lists everything: what it lacks there is no longer sold.
    """
    kinds = list(KIND)
    later = base.filter(pl.col("as_of") > newer["as_of"].min()).select(*kinds, "as_of")
    if not later.is_empty():
        known = later.group_by(kinds).agg(pl.col("as_of").max().alias("known"))
        dated = newer.join(known, on=kinds, how="left", nulls_equal=True, maintain_order="left")
        newer = dated.filter(pl.col("known").is_null() | (pl.col("as_of") >= pl.col("known"))).select(*SCHEMA)
    gone = pl.DataFrame(list(complete), schema={name: SCHEMA[name] for name in ("cloud", "region")}, orient="row")
    stays = base.join(gone, on=["cloud", "region"], how="anti", maintain_order="left")
    stays = stays.join(newer.select(kinds).unique(), on=kinds, how="anti", nulls_equal=True, maintain_order="left")
    return pl.concat([stays, newer])
