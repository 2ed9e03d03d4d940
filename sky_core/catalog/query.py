"""From :class:`~sky_core.spec.Resources` to candidates: one filter per field, and a good word when none is left."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import polars as pl

from sky_core.catalog.names import cloud_meant, only_elsewhere, resolve
from sky_core.catalog.schema import parse_labels
from sky_core.catalog.usual import binding, filled_in, preferred
from sky_core.config import Defaults
from sky_core.errors import NoFeasibleOffering
from sky_core.spec import Amount, Resources, did_you_mean

Filter = tuple[str, pl.Expr]
NEAREST = 3
AMOUNTS = {"cpus": "vcpus", "memory": "memory_gib"}
CURES = {
    "access": "name the region, or list it under 'enabled_regions' in catalog.toml",
    "withdrawn": "ask for the label withdrawn=True to see them all the same",
    "defaults.regions": "name a region, or allow more under [defaults] regions in config.toml",
    "clouds": "give another cloud's credentials (in the sandbox an endpoint on this machine), or ask for less",
    "price": "name a machine whose price is known, or give it in catalog.toml",
    "spot_price": "leave use_spot out, or give a spot_price in catalog.toml",
    "max_hourly_cost": "allow more, or ask for less",
    "exclude": "exclude less, or ask for less",
}
PLACES = ("cloud", "region", "zone")


def query(
    table: pl.DataFrame, wanted: Resources, task: str, clouds: Sequence[str] | None, usual: Defaults | None = None
) -> pl.DataFrame:
    """The rows of ``table``, sorted by price, that satisfy ``wanted``, cheapest first (see :meth:`Catalog.query`)."""
    asked, wanted = wanted, filled_in(wanted, usual) if usual else wanted
    filters = [*_filters(table, wanted, task, clouds), *(binding(table, wanted, usual) if usual else ())]
    found = table.filter(functools.reduce(operator.and_, (mask for _, mask in filters)))
    if found.is_empty():
        raise _nothing_left(table, filters, wanted, task, clouds, asked)
    found = preferred(found, wanted, usual, datetime.now(UTC).date()) if usual else found
    return found.sort("spot_price", maintain_order=True) if wanted.use_spot else found


def _filters(table: pl.DataFrame, wanted: Resources, task: str, clouds: Sequence[str] | None) -> Iterator[Filter]:
    if wanted.accelerators:
        yield "accelerators", _accelerators(table, wanted, task)
    elif (
        wanted.instance_type
    ):  # an accelerator that belongs to the named machine is welcome, an attached one not asked for
        yield "accelerators", ~_labelled(table, "attached", True)
    else:
        yield "accelerators", pl.col("accelerator").is_null()
    for field in ("instance_type", *PLACES):
        patterns = getattr(wanted, field)
        if patterns:
            yield field, _matches(table, field, patterns)
    if wanted.exclude:
        yield "exclude", ~_any(_matches(table, place, wanted.exclude) for place in PLACES)
    for field, column in AMOUNTS.items():
        if (amount := getattr(wanted, field)) is not None:
            yield field, _per_cpu(amount) if amount.per_cpu else _within(column, amount)
    if wanted.arch is not None:
        yield "arch", pl.col("arch") == wanted.arch
    for key, value in wanted.labels.items():
        yield f"labels.{key}", _labelled(table, key, value)
    if "withdrawn" not in wanted.labels:
        yield "withdrawn", ~_labelled(table, "withdrawn", True)
    yield "access", pl.col("access").is_null() | pl.col("region").is_in(_names(wanted.region))
    if clouds is not None:
        yield "clouds", _matches(table, "cloud", clouds)
    price = "spot_price" if wanted.use_spot else "price"
    yield price, pl.col(price).is_not_null()
    if wanted.max_hourly_cost is not None:
        yield "max_hourly_cost", pl.col(price) <= wanted.max_hourly_cost


def _accelerators(table: pl.DataFrame, wanted: Resources, task: str) -> pl.Expr:
    """Rows with any of them. Of several, those that only other clouds sell may be there for other brokers."""
    known = [name for name in table["accelerator"].unique().to_list() if name is not None]
    sold = [pair for pair in wanted.accelerators if not only_elsewhere(pair[0], known)]
    pairs = [(resolve(name, known, task), count) for name, count in sold or wanted.accelerators]
    return _any((pl.col("accelerator") == name) & (pl.col("accelerator_count") == count) for name, count in pairs)


def _labelled(table: pl.DataFrame, key: str, value: str | bool) -> pl.Expr:
    """Rows whose label ``key`` is ``value``; True asks for any value, False for none."""

    def fits(text: str) -> bool:
        held = parse_labels(text).get(key)
        return (held is not None) == value if isinstance(value, bool) else held == value

    return pl.col("labels").is_in(_names([text for text in table["labels"].unique().to_list() if fits(text)]))


def _matches(table: pl.DataFrame, column: str, patterns: Sequence[str]) -> pl.Expr:
    names = [name for name in table[column].unique().to_list() if name is not None]
    found = [name for name in names if any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)]
    return pl.col(column).is_in(_names(found)).fill_null(False)


def _names(names: Sequence[str]) -> pl.Series:
    return pl.Series(names, dtype=pl.Categorical()).implode()


def _any(masks: Iterable[pl.Expr]) -> pl.Expr:
    return functools.reduce(operator.or_, masks)


def _within(column: str, amount: Amount) -> pl.Expr:
    least = pl.col(column) >= amount.low
    return least if math.isinf(amount.high) else least & (pl.col(column) <= amount.high)


def _per_cpu(amount: Amount) -> pl.Expr:
    return pl.col("memory_gib") >= amount.low * pl.col("vcpus")


def _nothing_left(
    table: pl.DataFrame,
    filters: Sequence[Filter],
    wanted: Resources,
    task: str,
    clouds: Sequence[str] | None,
    asked: Resources,
) -> NoFeasibleOffering:
    """What to say where the filters of ``wanted`` leave nothing, which is ``asked`` with the usual size filled in."""
    left, emptied = table, 0
    while not (left := left.filter(filters[emptied][1])).is_empty():
        emptied += 1
    field = filters[emptied][0]
    near = table.filter([mask for index, (_, mask) in enumerate(filters) if index != emptied])
    if near.is_empty():
        near = table.filter([mask for _, mask in filters[:emptied]])
    price = "spot_price" if wanted.use_spot else "price"
    near = _closest(near.sort(price, nulls_last=True, maintain_order=True), field, wanted)
    nearest = [describe(row, price) for row in near.head(NEAREST).iter_rows(named=True)]
    hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
    known = not table.filter(filters[emptied][1]).is_empty()  # it is sold, but not with what was asked for before it
    beside = _beside([name for name, _ in filters[:emptied]], wanted) if known else ""
    message = f"Task.{task}: {_reason(field, wanted, clouds, near, beside)}{hint}"
    cure = _cure(table, field, wanted, near)
    if field in AMOUNTS and getattr(asked, field) is None and not near.is_empty():
        usual, there = _value(field, wanted), near[AMOUNTS[field]][0]
        cure = f"write {field}: {there:g}+; where neither cpus nor memory is named, {field} {usual} is meant"
    return NoFeasibleOffering(task, field, nearest, message, cure=cure)


def _cure(table: pl.DataFrame, field: str, wanted: Resources, near: pl.DataFrame) -> str:
    """What to write instead, where ``field`` left nothing and ``near`` misses it by least."""
    meant = CURES.get(field) or _meant(table, field, wanted)
    if not meant and field == "accelerators" and wanted.accelerators and not near.is_empty():
        name, asked = near["accelerator"][0], min(count for _, count in wanted.accelerators)
        sold = sorted(near.filter(pl.col("accelerator") == name)["accelerator_count"].unique())
        if more := [count for count in sold if count > asked]:
            return f"write {name}:{more[0]:g}, the next larger number that is sold"
        return f"take several machines, by num_nodes, of {name}:{sold[-1]:g}"
    return meant or f"take what is nearest, or leave {field} out"


def _meant(table: pl.DataFrame, field: str, wanted: Resources) -> str:
    """The names that a misspelt one may stand for; "" where it is a name, and fits with nothing else."""
    if field not in (*PLACES, "instance_type"):
        return ""
    named = table if field == "cloud" or not wanted.cloud else table.filter(_matches(table, "cloud", wanted.cloud))
    known = sorted(name for name in named[field].unique().to_list() if name is not None)
    first, *_ = said = getattr(wanted, field)
    if set(said) & set(known):
        return ""
    return (field == "cloud" and cloud_meant(first)) or did_you_mean(first, known)


def _closest(near: pl.DataFrame, field: str, wanted: Resources) -> pl.DataFrame:
    """One row per machine type, those first that miss the field by least, the cheapest of them first."""
    if field == "accelerators":
        known = [name for name in near["accelerator"].unique().to_list() if name is not None]
        count = {resolve(name, known): count for name, count in wanted.accelerators}
        near = near.filter(pl.col("accelerator").is_in(_names(list(count))))
        asked = pl.col("accelerator").replace_strict(count, return_dtype=pl.Float64)
        near = near.sort((pl.col("accelerator_count") / asked).log().abs(), maintain_order=True)
    elif field in ("cpus", "memory") and not getattr(wanted, field).per_cpu:
        column, amount = AMOUNTS[field], getattr(wanted, field)
        missed = pl.max_horizontal(amount.low - pl.col(column), pl.col(column) - amount.high)
        near = near.sort(missed, nulls_last=True, maintain_order=True)
    elif field.startswith("labels."):
        near = near.filter(_labelled(near, field.partition(".")[2], True))
    return near.unique(["instance_type", "accelerator_count"], keep="first", maintain_order=True)


def _beside(fields: Sequence[str], wanted: Resources) -> str:
    """In words what the fields ask for, as in ``" with accelerators V100:4"``; "" where they say nothing."""
    told = [f"{field} {_value(field, wanted)}" for field in fields if field in Resources.model_fields]
    return f" with {' and '.join(told)}".replace("accelerators none", "no accelerators") if told else ""


def _reason(field: str, wanted: Resources, clouds: Sequence[str] | None, near: pl.DataFrame, beside: str) -> str:
    asked_for = ", ".join(sorted(near["region"].unique()))
    reasons = {
        "defaults.regions": f"no region that the settings allow offers it ({asked_for} would)",
        "price": "no on-demand price is known for what is asked",
        "spot_price": "use_spot: no spot price is known for what is asked",
        "clouds": f"nothing fits in the clouds that can be used ({', '.join(clouds or ()) or 'none'})",
        "withdrawn": "all that fits has been withdrawn by its cloud",
        "max_hourly_cost": f"max_hourly_cost: nothing that fits costs ${wanted.max_hourly_cost or 0:g} an hour or less",
        "access": f"only regions that an account has to ask for offer it ({asked_for})",
        "exclude": f"exclude: {_plain(wanted.exclude)} leaves nothing that fits",
    }
    if field in reasons:
        return reasons[field]
    return f"{field}: no offering{beside} has {_value(field, wanted)}"


def _value(field: str, wanted: Resources) -> str:
    name, _, key = field.partition(".")
    value = getattr(wanted, name)
    if name == "accelerators":
        value = [f"{accelerator}:{count:g}" for accelerator, count in value] or "none"
    return _plain(value[key] if key else value)


def _plain(value: Any) -> str:
    if isinstance(value, Amount):
        if value.per_cpu:
            return f"{value.low:g} GiB or more a vCPU"
        if math.isinf(value.high):
            return f"{value.low:g}+"
        return f"{value.low:g}" if value.low == value.high else f"{value.low:g}-{value.high:g}"
    return " or ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def describe(row: Mapping[str, Any], price: str) -> str:
    """One offering in words: ``aws/us-east-1a p3.8xlarge V100:4 (32 vCPUs, 244 GiB) at $12.24/h``."""
    accelerator = f" {row['accelerator']}:{row['accelerator_count']:g}" if row["accelerator"] else ""
    shape = f" ({row['vcpus']:g} vCPUs, {row['memory_gib']:g} GiB)" if row["vcpus"] else ""
    market = " spot" if price == "spot_price" else ""
    cost = f"at ${row[price]:g}/h{market}" if row[price] is not None else "at an unknown price"
    return f"{row['cloud']}/{row['zone'] or row['region']} {row['instance_type']}{accelerator}{shape} {cost}"
