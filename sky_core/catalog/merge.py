"""Newer rows over older ones."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from sky_core.catalog.schema import KIND, SCHEMA

Place = tuple[str, str]  # cloud, region
KEPT = ("interruption", "device_memory_gib", "labels", "access", "vcpus", "memory_gib", "arch", "spot_price", "price")
"""Columns whose older value stands where the newer row has none."""


def overlay(base: pl.DataFrame, newer: pl.DataFrame, complete: Iterable[Place] = ()) -> pl.DataFrame:
    """``base`` with the rows of ``newer`` in place of what they speak of.

    A row without a zone speaks of the type in its whole region: it takes over the zones that ``base`` knows, if
    any. Newer rows replace all older ones of their :data:`~sky_core.catalog.schema.KIND`; what they leave open
    stays as it was. Rows older than those in ``base`` are dropped.

    Args:
        complete: (cloud, region) pairs of which ``newer`` lists everything: what it lacks there is no longer sold.
    """
    kinds = list(KIND)
    known = base.group_by(kinds).agg(pl.col("as_of").max().alias("known_as_of"))
    newer = newer.join(known, on=kinds, how="left", nulls_equal=True, maintain_order="left")
    newer = newer.filter(pl.col("known_as_of").is_null() | (pl.col("as_of") >= pl.col("known_as_of"))).drop(
        "known_as_of"
    )

    zones = base.filter(pl.col("zone").is_not_null()).select(*kinds, pl.col("zone").alias("known_zone")).unique()
    everywhere = newer.filter(pl.col("zone").is_null())
    everywhere = everywhere.join(zones, on=kinds, how="left", nulls_equal=True, maintain_order="left")
    everywhere = everywhere.with_columns(pl.col("known_zone").alias("zone")).select(*SCHEMA)
    newer = pl.concat([newer.filter(pl.col("zone").is_not_null()), everywhere])

    newer = _fill(newer, base, [*kinds, "zone"])
    newer = _fill(newer, base, kinds)
    gone = pl.DataFrame(list(complete), schema={name: SCHEMA[name] for name in ("cloud", "region")}, orient="row")
    stays = base.join(newer, on=kinds, how="anti", nulls_equal=True).join(gone, on=["cloud", "region"], how="anti")
    return pl.concat([stays, newer])


def _fill(newer: pl.DataFrame, base: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Take what ``newer`` leaves open from the row of ``base`` with the same key."""
    older = base.select(*key, *KEPT).unique(key, keep="first", maintain_order=True)
    joined = newer.join(older, on=key, how="left", nulls_equal=True, maintain_order="left", suffix="_older")
    return joined.with_columns(pl.coalesce(name, f"{name}_older").alias(name) for name in KEPT).select(*SCHEMA)
