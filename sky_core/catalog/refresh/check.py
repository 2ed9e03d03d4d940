"""From raw rows to rows that can be believed, with a reason for each one that cannot."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from sky_core.catalog.facts import access_of, labels_of
from sky_core.catalog.names import device_memory_gib, squeeze
from sky_core.catalog.refresh.source import Row
from sky_core.catalog.schema import KIND, SCHEMA
from sky_core.facts import facts_of

PLACE = re.compile(r"^[a-z0-9][a-z0-9\-]{1,39}$")
MACHINE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._\-]{1,79}$")
ACCELERATOR = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._\-]{0,39}$")
ARCHES = ("x86_64", "arm64")
SHAPE = ("vcpus", "memory_gib", "accelerator", "accelerator_count")
TPU_HOST = "TPU-VM"  # one name for hosts of all sizes
JUMP = 10.0
LIMITS = {
    "vcpus": (0.1, 4096),
    "memory_gib": (0.1, 65536),
    "accelerator_count": (0.01, 16384),
    "price": (0, 20000),
    "spot_price": (0, 20000),
}
"""What each number lies between, ends excluded for prices: an unknown price is absent, never zero."""


DUPLICATE = "duplicate row"
NO_PRICE = "no price"
UNKNOWN_SHAPE = "unknown machine type without a shape"
CONTRADICTION = "two different prices for one offering"


class Doubt(Exception):
    """Why a row is not believed."""


@dataclass
class Checked:
    """What became of a source's rows.

    Attributes:
        table: The rows that are believed, with the columns of the catalog.
        rejected: Reason -> how many rows.
        examples: Reason -> the first such row, in words.
    """

    table: pl.DataFrame
    rejected: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Rows looked at."""
        return self.table.height + sum(self.rejected.values())


def check(rows: Iterable[Row], known: pl.DataFrame, source: str, as_of: date) -> Checked:
    """Sort a source's rows into believed and rejected.

    Args:
        known: The catalog so far: machine types keep their shapes, and a price ten times up or down is not believed.
        source: Name for the column ``source``.
    """
    outcome = Checked(pl.DataFrame(schema=dict(SCHEMA)))

    def reject(row: Row, reason: str) -> None:
        outcome.rejected[reason] += 1
        outcome.examples.setdefault(reason, _in_words(row))

    memory = _Memory(known)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    refused: set[tuple[Any, ...]] = set()
    for raw in rows:
        try:
            row = _believe(raw, memory)
            key = tuple(row[name] for name in (*KIND, "zone"))
            _put_together(found.setdefault(key, row), row)
        except Doubt as doubt:
            reject(raw, str(doubt))
            if str(doubt) == CONTRADICTION:
                refused.add(key)
    for key in refused:  # nobody knows which of the two prices is right
        reject(found.pop(key), CONTRADICTION)
    priced = [row for row in found.values() if _has_price(row, reject)]
    outcome.table = _finish(priced, known, source, as_of)
    return outcome


def _put_together(held: dict[str, Any], row: Mapping[str, Any]) -> None:
    if held is row:
        return
    news = False
    for name, value in row.items():
        if value is None or value == held[name]:
            continue
        if held[name] is not None:
            raise Doubt(CONTRADICTION if name in ("price", "spot_price") else f"two values of {name} for one offering")
        held[name], news = value, True
    if not news:
        raise Doubt(DUPLICATE)


def _has_price(row: Mapping[str, Any], reject: Any) -> bool:
    if row["price"] is None and row["spot_price"] is None:
        reject(row, NO_PRICE)
        return False
    if row["price"] and row["spot_price"] and row["spot_price"] > row["price"] * 1.0001:
        reject(row, "spot price above the on-demand price")
        return False
    return True


class _Memory:
    """What the catalog knows, for comparing."""

    def __init__(self, known: pl.DataFrame) -> None:
        shapes = known.select("cloud", "instance_type", *SHAPE).unique()
        once = shapes.filter(~pl.struct("cloud", "instance_type").is_duplicated())
        self.shapes = {row[:2]: dict(zip(SHAPE, row[2:], strict=True)) for row in once.iter_rows()}
        self.vcpus = {row[:2]: row[2] for row in shapes.iter_rows() if row[2] is not None}
        prices = known.group_by(KIND).agg(pl.col("price").median(), pl.col("spot_price").median())
        self.prices = {row[:5]: row[5:] for row in prices.iter_rows()}
        names = known["accelerator"].drop_nulls().unique().to_list()
        self.accelerators = {squeeze(name): name for name in names}


def _believe(raw: Row, memory: _Memory) -> dict[str, Any]:
    """The row with its values in their types.

    Raises:
        Doubt: if it cannot be believed.
    """
    row: dict[str, Any] = {
        "cloud": _name(raw, "cloud", PLACE),
        "region": _name(raw, "region", PLACE),
        "zone": _name(raw, "zone", PLACE, optional=True),
        "instance_type": _name(raw, "instance_type", MACHINE),
        "accelerator": _name(raw, "accelerator", ACCELERATOR, optional=True),
        "arch": raw.get("arch") or None,
        **{name: _number(raw, name) for name in LIMITS},
    }
    if row["zone"] is not None and not row["zone"].startswith(row["region"]):
        raise Doubt("zone outside its region")
    if (row["accelerator"] is None) != (row["accelerator_count"] is None):
        raise Doubt("accelerator without a count, or count without an accelerator")
    if row["arch"] not in (None, *ARCHES):
        raise Doubt("unknown architecture")
    _compare_shape(row, memory)
    _compare_prices(row, memory.prices.get(tuple(row[name] for name in KIND), (None, None)))
    return row


def _compare_shape(row: dict[str, Any], memory: _Memory) -> None:
    if row["accelerator"] is not None:
        row["accelerator"] = memory.accelerators.get(squeeze(row["accelerator"]), row["accelerator"])
    kind = row["cloud"], row["instance_type"]
    for name, value in memory.shapes.get(kind, {}).items():  # price lists often leave shapes out
        row[name] = value if row[name] is None else row[name]
    if row["vcpus"] is None and row["accelerator"] is None:
        raise Doubt(UNKNOWN_SHAPE)
    known = memory.vcpus.get(kind)
    if known and row["vcpus"] and known != row["vcpus"] and row["instance_type"] != TPU_HOST:
        raise Doubt("vCPUs differ from what the type is known to have")


def _compare_prices(row: Mapping[str, Any], known: Sequence[float | None]) -> None:
    for name, before in zip(("price", "spot_price"), known, strict=True):
        if row[name] and before and not 1 / JUMP < row[name] / before < JUMP:
            raise Doubt(f"{name} {'up' if row[name] > before else 'down'} by a factor of {JUMP:g} or more")


def _name(raw: Row, name: str, pattern: re.Pattern[str], *, optional: bool = False) -> str | None:
    value = raw.get(name)
    if value is None or value == "":
        if optional:
            return None
        raise Doubt(f"no {name}")
    if not isinstance(value, str) or not pattern.match(value):
        raise Doubt(f"{name} is no name")
    return value


def _number(raw: Row, name: str) -> float | None:
    value = raw.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise Doubt(f"{name} is no number")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise Doubt(f"{name} is no number") from None
    low, high = LIMITS[name]
    if not math.isfinite(number):
        raise Doubt(f"{name} is no finite number")
    if number < 0:
        raise Doubt(f"{name} is negative")
    if number <= low or number > high:
        raise Doubt(f"{name} is zero" if number == 0 else f"{name} is out of range")
    return number


def _finish(rows: list[dict[str, Any]], known: pl.DataFrame, source: str, as_of: date) -> pl.DataFrame:
    """The believed rows with what follows from them and what is known of their types."""
    plain = set(known.filter(pl.col("accelerator").is_null()).select("cloud", "instance_type").unique().iter_rows())
    for row in rows:
        kind = (row["cloud"], row["instance_type"])
        row |= {
            "arch": row["arch"] or facts_of(kind[0]).arch(kind[1]),
            "device_memory_gib": device_memory_gib(row["accelerator"] or ""),
            "labels": labels_of(*kind, row["accelerator"], attached=row["accelerator"] is not None and kind in plain),
            "access": access_of(row["cloud"], row["region"]),
            "source": source,
            "as_of": as_of,
        }
    return pl.DataFrame(rows, schema=dict(SCHEMA))


def _in_words(row: Row) -> str:
    shown = {name: row.get(name) for name in (*KIND, "zone", "vcpus", "price", "spot_price")}
    return ", ".join(f"{name}={str(value)[:40]}" for name, value in shown.items() if value not in (None, ""))
