"""The columns of the catalog (Table 4.1 of the dissertation, and what planning needs besides)."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

Name = pl.Categorical()

SCHEMA: Mapping[str, pl.DataType] = {
    "cloud": Name,
    "region": Name,
    "zone": Name,  # null where unknown
    "instance_type": Name,
    "vcpus": pl.Float64(),  # null for multi-host TPU slices
    "memory_gib": pl.Float64(),
    "accelerator": Name,  # in the field's spelling: "V100", "tpu-v3-8"; null without one
    "accelerator_count": pl.Float64(),  # a fraction where a machine gets a slice of a GPU
    "device_memory_gib": pl.Float64(),  # of one accelerator
    "price": pl.Float64(),  # USD per hour, Linux, on demand; null where unknown
    "spot_price": pl.Float64(),
    "interruption": pl.Float64(),  # published probability of a spot interruption within a month; null where unknown
    "arch": Name,  # x86_64 or arm64
    "labels": Name,  # "confidential=sgx,cpu=intel", sorted by key; "" without any
    "access": Name,  # "opt-in" or "restricted" where the region has to be asked for; null where it is open to all
    "capacity": pl.UInt32(),  # how many there are in all; null where the cloud gives what it has
    "reservation": Name,  # what a launch there has to name; null where it names none
    "since": pl.Float64(),  # when the reservation begins, seconds since the epoch; null of one that has
    "until": pl.Float64(),  # when the reservation ends, seconds since the epoch; null where it does not
    "source": Name,
    "as_of": pl.Date(),
}
"""Name and type of each column of :attr:`Catalog.table`."""

OURS = ("capacity", "reservation", "since", "until")
"""Columns that the user's own entries fill, and no source of prices."""

KIND = ("cloud", "region", "instance_type", "accelerator", "accelerator_count")
"""What is sold in a region; a catalog has one row of a source for each zone that sells it."""


def whole(table: pl.DataFrame) -> pl.DataFrame:
    """A table of prices with all columns: :data:`OURS` are null where it lacks them."""
    lacking = [pl.lit(None, SCHEMA[name]).alias(name) for name in OURS if name not in table.columns]
    return table.with_columns(lacking).cast(pl.Schema(SCHEMA)).select(*SCHEMA)


def parse_labels(text: str) -> dict[str, str]:
    """``"confidential=sgx,cpu=intel"`` as a mapping."""
    return dict(item.split("=", 1) for item in text.split(",") if item)


def format_labels(labels: Mapping[str, str]) -> str:
    """The inverse of :func:`parse_labels`."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
