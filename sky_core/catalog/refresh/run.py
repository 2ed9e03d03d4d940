"""Refreshing: read each source, believe what can be believed, keep it, or change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from sky_core.catalog.custom import SOURCE as CUSTOM
from sky_core.catalog.merge import settle
from sky_core.catalog.refresh.check import DUPLICATE, NO_PRICE, UNKNOWN_SHAPE, Checked, check
from sky_core.catalog.refresh.shelf import Refreshed, forget_leftovers, keep, read_source
from sky_core.catalog.refresh.source import Progress, Source
from sky_core.catalog.schema import KIND
from sky_core.errors import AuthError, BadSource, MissingExtra

MOST_DAMAGED = 0.1
"""A source of which more rows than this are damaged is not believed at all."""
HARMLESS = frozenset({DUPLICATE, NO_PRICE, UNKNOWN_SHAPE})
"""Reasons to leave a row out that say nothing against the others."""
LEAST_OF_LAST_TIME = 0.5
"""A source that suddenly has fewer rows than this share of last time's was cut short."""


@dataclass(frozen=True)
class Result:
    """What came of refreshing from one source.

    Attributes:
        rows: The source's rows that were kept; 0 if it was refused.
        changed: Kinds of machine whose on-demand price differs from before.
        rejected: Reason -> rows left out.
        examples: Reason -> the first such row.
        refused: Why nothing was changed, or "".
    """

    source: str
    rows: int = 0
    changed: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


def refresh(home: Path, sources: Iterable[Source], known: pl.DataFrame, progress: Progress) -> list[Result]:
    """Read the sources one after the other and keep what each has, in ``home``.

    A source that is down, sends rubbish or suddenly shrinks is refused: its last good rows stay.

    Args:
        known: The catalog's table so far, to compare with.
        progress: Told in words what is being done.
    """
    forget_leftovers(home)
    known = known.filter(known["source"] != CUSTOM)  # machines of one's own are no measure for list prices
    return [_refresh_one(home, source, known, progress) for source in sources]


def _refresh_one(home: Path, source: Source, known: pl.DataFrame, progress: Progress) -> Result:
    now = datetime.now(UTC)
    checked = Checked(known.clear())
    try:
        checked = check(source.rows(progress), known, source.name, now.date())
        settled = settle(checked.table, known)
        _believe(checked, settled, read_source(home, source.name))
    except (BadSource, MissingExtra, AuthError) as error:
        return Result(source.name, rejected=checked.rejected, examples=checked.examples, refused=str(error))
    keep(home, Refreshed(source.name, settled, source.complete, now.isoformat()))
    return Result(source.name, checked.table.height, _changed(checked.table, known), checked.rejected, checked.examples)


def _believe(checked: Checked, settled: pl.DataFrame, last: Refreshed | None) -> None:
    """Raise BadSource if the rows as a whole cannot be believed."""
    good, damaged = checked.table.height, Counter(checked.rejected)
    for reason in HARMLESS:
        damaged.pop(reason, None)
    bad = damaged.total()
    if bad > MOST_DAMAGED * (good + bad):
        reasons = ", ".join(f"{count} x {reason}" for reason, count in damaged.most_common(3))
        raise BadSource(f"{bad} of {good + bad} rows are damaged ({reasons})")
    if good == 0:
        raise BadSource("it has no usable rows")
    if last is not None and settled.height < LEAST_OF_LAST_TIME * last.table.height:
        raise BadSource(f"it has {settled.height} rows where it had {last.table.height} last time")


def _changed(table: pl.DataFrame, known: pl.DataFrame) -> int:
    prices = [frame.group_by(KIND).agg(pl.col("price").median()) for frame in (table, known)]
    both = prices[0].join(prices[1], on=list(KIND), nulls_equal=True, suffix="_before")
    return both.filter((pl.col("price") / pl.col("price_before") - 1).abs() > 1e-6).height
