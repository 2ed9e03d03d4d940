"""Hours as the user gives them: a number, a table by kind of machine, or a function of the candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import polars as pl

from sky_core.catalog.names import squeeze
from sky_core.errors import SpecError
from sky_core.spec import HoursFunction, Resources, Task

Row = Mapping[str, Any]
KIND = ["cloud", "region", "instance_type", "accelerator", "accelerator_count", "vcpus", "memory_gib", "arch"]


def from_table(task: Task, table: Mapping[str, float], candidates: pl.DataFrame) -> np.ndarray:
    """Hours by the most specific key that fits each row, NaN where none does.

    Keys, most specific first: ``"V100:4"``, an instance type (patterns allowed), ``"V100"`` (any number of
    them, hours as given), ``"cloud:aws"``.

    Raises:
        SpecError: if no key fits any candidate.
    """
    kinds = candidates.select("cloud", "instance_type", "accelerator", "accelerator_count").unique(maintain_order=True)
    rows = list(kinds.iter_rows(named=True))
    hours = [_look_up(table, row) for row in rows]
    if all(math.isnan(value) for value in hours):
        offered = sorted({_label(row) for row in rows})
        shown = ", ".join(offered[:6]) + (", …" if len(offered) > 6 else "")
        raise SpecError(f"Task.{task.name}: hours: none of {sorted(table)} fits any candidate; there are {shown}")
    return spread(candidates, kinds, hours)


def _look_up(table: Mapping[str, float], row: Row) -> float:
    instance_type = row["instance_type"].lower()
    best = (0, math.nan)
    for key, hours in table.items():
        name, colon, rest = key.partition(":")
        if colon and name == "cloud":
            rank = 1 if rest == row["cloud"] else 0
        elif row["accelerator"] and squeeze(name) == squeeze(row["accelerator"]):
            rank = 2 if not colon else 4 if rest.strip() == f"{row['accelerator_count']:g}" else 0
        else:
            rank = 3 if fnmatchcase(instance_type, key.lower()) else 0
        best = max(best, (rank, float(hours)), key=lambda pair: pair[0])
    return best[1]


def _label(row: Row) -> str:
    return f"{row['accelerator']}:{row['accelerator_count']:g}" if row["accelerator"] else str(row["instance_type"])


def from_function(task: Task, function: HoursFunction, candidates: pl.DataFrame) -> np.ndarray:
    """Hours by the user's function, called once per kind of machine and region; NaN where it returns None or inf.

    Raises:
        SpecError: if it fails, or returns something that is no positive number.
    """
    columns = [*KIND, *(["use_spot"] if "use_spot" in candidates.columns else [])]
    kinds = candidates.select(columns).unique(maintain_order=True)
    return spread(candidates, kinds, [_call(task, function, row) for row in kinds.iter_rows(named=True)])


def _call(task: Task, function: HoursFunction, row: Row) -> float:
    candidate = Resources(
        accelerators={row["accelerator"]: row["accelerator_count"]} if row["accelerator"] else None,
        cpus=row["vcpus"],
        memory=row["memory_gib"],
        instance_type=row["instance_type"],
        cloud=row["cloud"],
        region=row["region"],
        arch=row["arch"],
        use_spot=row.get("use_spot", task.resources.use_spot),
    )
    try:
        hours = function(candidate)
    except Exception as error:
        raise SpecError(f"Task.{task.name}: hours: the function failed on {_label(row)}: {error!r}") from error
    if hours is None:
        return math.nan
    if not isinstance(hours, int | float) or math.isnan(hours) or hours <= 0:
        raise SpecError(
            f"Task.{task.name}: hours: the function returned {hours!r} for {_label(row)}, no positive number"
        )
    return math.nan if math.isinf(hours) else float(hours)


def spread(candidates: pl.DataFrame, kinds: pl.DataFrame, hours: Sequence[float]) -> np.ndarray:
    """(C,) the hours of each candidate's kind; ``kinds`` has some of its columns, and each kind once."""
    known = kinds.with_columns(pl.Series("hours", hours, dtype=pl.Float64))
    joined = candidates.join(known, on=kinds.columns, how="left", nulls_equal=True, maintain_order="left")
    return joined["hours"].to_numpy()
