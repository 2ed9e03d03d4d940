"""From :class:`~sky_core.spec.Resources` to candidates: one filter per field, and a good word when none is left."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import polars as pl

from sky_core.catalog.names import resolve
from sky_core.catalog.schema import parse_labels
from sky_core.errors import NoFeasibleOffering
from sky_core.spec import Amount, Resources

Filter = tuple[str, pl.Expr]
NEAREST = 3
PLACES = ("cloud", "region", "zone")


def query(table: pl.DataFrame, wanted: Resources, task: str, clouds: Sequence[str] | None) -> pl.DataFrame:
    """The rows of ``table`` that satisfy ``wanted``, in its order (see :meth:`Catalog.query`)."""
    price = "spot_price" if wanted.use_spot else "price"
    filters = list(_filters(table, wanted, clouds))
    found = table.filter(functools.reduce(lambda left, right: left & right, (mask for _, mask in filters)))
    if found.is_empty():
        raise _nothing_left(table, filters, price, task, wanted, clouds)
    return found


def _filters(table: pl.DataFrame, wanted: Resources, clouds: Sequence[str] | None) -> Iterator[Filter]:
    yield "accelerators", _accelerators(table, wanted)
    for field in ("instance_type", *PLACES):
        patterns = getattr(wanted, field)
        if patterns:
            yield field, _matches(table, field, patterns)
    if wanted.exclude:
        excluded = functools.reduce(lambda a, b: a | b, (_matches(table, place, wanted.exclude) for place in PLACES))
        yield "exclude", ~excluded
    for field, column, amount in (("cpus", "vcpus", wanted.cpus), ("memory", "memory_gib", wanted.memory)):
        if amount is not None:
            yield field, _within(column, amount)
    if wanted.arch is not None:
        yield "arch", pl.col("arch") == wanted.arch
    yield "labels", _labels(table, wanted)
    if clouds is not None:
        yield "clouds", _matches(table, "cloud", tuple(clouds))
    yield (
        ("use_spot", pl.col("spot_price").is_not_null())
        if wanted.use_spot
        else ("price", pl.col("price").is_not_null())
    )


def _accelerators(table: pl.DataFrame, wanted: Resources) -> pl.Expr:
    if wanted.accelerators:
        known = [name for name in table["accelerator"].unique().to_list() if name is not None]
        pairs = [(resolve(name, known), count) for name, count in wanted.accelerators]
        return functools.reduce(
            lambda a, b: a | b,
            ((pl.col("accelerator") == name) & (pl.col("accelerator_count") == count) for name, count in pairs),
        )
    if wanted.instance_type:  # a GPU that belongs to the named machine is welcome, one to be attached was not asked for
        return ~_labelled(table, "attached", True)
    return pl.col("accelerator").is_null()


def _labels(table: pl.DataFrame, wanted: Resources) -> pl.Expr:
    labels = {"withdrawn": False, **wanted.labels}
    return functools.reduce(lambda a, b: a & b, (_labelled(table, key, value) for key, value in labels.items()))


def _labelled(table: pl.DataFrame, key: str, value: str | bool) -> pl.Expr:
    """Rows whose label ``key`` is ``value``; True asks for any value, False for none."""

    def fits(text: str) -> bool:
        held = parse_labels(text).get(key)
        return (held is not None) == value if isinstance(value, bool) else held == value

    return pl.col("labels").is_in(_cast([text for text in table["labels"].unique().to_list() if fits(text)]))


def _matches(table: pl.DataFrame, column: str, patterns: Sequence[str]) -> pl.Expr:
    names = [name for name in table[column].unique().to_list() if name is not None]
    found = [name for name in names if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)]
    return pl.col(column).is_in(_cast(found)).fill_null(False)


def _cast(names: list[str]) -> pl.Series:
    return pl.Series(names, dtype=pl.Categorical()).implode()


def _within(column: str, amount: Amount) -> pl.Expr:
    least = pl.col(column) >= amount.low
    return least if math.isinf(amount.high) else least & (pl.col(column) <= amount.high)


def _nothing_left(
    table: pl.DataFrame,
    filters: Sequence[Filter],
    price: str,
    task: str,
    wanted: Resources,
    clouds: Sequence[str] | None,
) -> NoFeasibleOffering:
    left, emptied = table, 0
    while not (left := left.filter(filters[emptied][1])).is_empty():
        emptied += 1
    field = filters[emptied][0]
    near = table.filter([mask for index, (_, mask) in enumerate(filters) if index != emptied])
    if near.is_empty() and emptied > 0:
        near = table.filter([mask for _, mask in filters[:emptied]])
    cheapest = near.sort(price, nulls_last=True).unique("instance_type", keep="first", maintain_order=True)
    nearest = [describe(row, price) for row in cheapest.head(NEAREST).iter_rows(named=True)]
    message = f"Task.{task}: {field}: {_reason(field, wanted, clouds)}"
    hint = f"; without it there are {', '.join(nearest)}" if nearest else ""
    return NoFeasibleOffering(task, field, nearest, message + hint)


def _reason(field: str, wanted: Resources, clouds: Sequence[str] | None) -> str:
    if field == "use_spot":
        return "no spot price is known for what is asked"
    if field == "price":
        return "no on-demand price is known for what is asked"
    if field == "clouds":
        return f"nothing fits in the enabled clouds ({', '.join(clouds or ()) or 'none'})"
    if field == "labels" and not wanted.labels:
        return "all that fits has been withdrawn by its cloud"
    value = getattr(wanted, field)
    if field == "accelerators":
        value = [f"{name}:{count:g}" for name, count in value] or "none"
    return f"no offering has {_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, Amount):
        if math.isinf(value.high):
            return f"{value.low:g}+"
        return f"{value.low:g}" if value.low == value.high else f"{value.low:g}-{value.high:g}"
    if isinstance(value, list | tuple):
        return " or ".join(map(str, value))
    return str(value)


def describe(row: Mapping[str, Any], price: str) -> str:
    """One offering in words: ``aws/us-east-1a p3.8xlarge V100:4 (32 vCPUs, 244 GiB) at $12.24/h``."""
    place = f"{row['cloud']}/{row['zone'] or row['region']}"
    accelerator = f" {row['accelerator']}:{row['accelerator_count']:g}" if row["accelerator"] else ""
    shape = f" ({row['vcpus']:g} vCPUs, {row['memory_gib']:g} GiB)" if row["vcpus"] else ""
    cost = (
        f"${row[price]:g}/h" + (" spot" if price == "spot_price" else "") if row[price] is not None else "unknown price"
    )
    return f"{place} {row['instance_type']}{accelerator}{shape} at {cost}"
