"""How long a task will take on each candidate, and how we know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sky_core.estimate.declared import from_function, from_table
from sky_core.estimate.history import Kind, fit, kind_of_run, next_input_gb, outlook
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from sky_core.store import Run

DEFAULT_HOURS = 1.0
"""A task that nobody knows anything about (dissertation, section 4.1.3)."""


@dataclass(frozen=True)
class Estimate:
    """Run times of one task on its candidates.

    Attributes:
        hours: (C,) hours without boot and set-up, NaN for candidates the task cannot run on.
        source: Where they come from, for people: ``"user"``, ``"history (7 runs)"``, ``"default (1 h)"``, …
        relative_error: Typical deviation of the actual from the estimate as a fraction; NaN where unknown.
    """

    hours: np.ndarray
    source: str
    relative_error: float


def estimate_hours(
    task: Task, candidates: pl.DataFrame, history: Sequence[Run] = (), *, input_gb: float | None = None
) -> Estimate:
    """How long the task takes on each row of ``candidates`` (rows of :meth:`Catalog.query`).

    The user's word comes first, then the history of past runs, then one hour.

    Args:
        task: The task.
        candidates: One row per candidate, with the catalog's columns.
        history: Past successful runs of this task, oldest first.
        input_gb: GB it will read, where the caller knows; else the sizes of its inputs, else the trend of past runs.

    Raises:
        SpecError: if the user's table fits no candidate, or the user's function fails or returns no positive number.
    """
    count = candidates.height
    if isinstance(task.hours, Mapping):
        return Estimate(from_table(task, task.hours, candidates), "user", math.nan)
    if callable(task.hours):
        source = str(getattr(task.hours, "source", "user's function"))
        return Estimate(from_function(task, task.hours, candidates), source, math.nan)
    if task.hours is not None:
        return Estimate(np.full(count, float(task.hours)), "user", math.nan)
    if history:
        return _from_history(candidates, history, declared_input_gb(task) if input_gb is None else input_gb)
    return Estimate(np.full(count, DEFAULT_HOURS), f"default ({DEFAULT_HOURS:g} h)", math.nan)


def declared_input_gb(task: Task) -> float | None:
    """GB of all inputs, None unless every size is given in the task itself."""
    sizes = [item.size_gb if isinstance(item, Artifact) else None for item in task.inputs.values()]
    return None if not sizes or None in sizes else math.fsum(size or 0.0 for size in sizes)


def _from_history(candidates: pl.DataFrame, runs: Sequence[Run], input_gb: float | None) -> Estimate:
    columns = ["instance_type", "accelerator", "accelerator_count", "vcpus"]
    rate = "rate" if "rate" in candidates.columns else "price"  # the planner adds the price of the market chosen
    shapes = candidates.group_by(columns, maintain_order=True).agg(pl.col(rate).min().fill_null(math.inf))
    vcpus = {row[0]: row[3] for row in shapes.iter_rows() if row[3] is not None}
    kind_of = {row[:4]: Kind.of(*row[:4]) for row in shapes.iter_rows()}
    rates: dict[Kind, float] = {}
    for row in shapes.iter_rows():
        rates[kind_of[row[:4]]] = min(row[4], rates.get(kind_of[row[:4]], math.inf))
    model = fit(runs, vcpus)
    lean = outlook(model, rates, kind_of_run(runs[0], vcpus))
    size = next_input_gb(runs) if input_gb is None else input_gb
    hours = {shape: model.hours(kind, size) * lean.get(kind.name, 1.0) for shape, kind in kind_of.items()}
    noun = "run" if model.runs == 1 else "runs"
    return Estimate(
        hours=np.array([hours[row] for row in candidates.select(columns).iter_rows()]),
        source=f"history ({model.runs} {noun}, ±{model.relative_error:.0%})",
        relative_error=model.relative_error,
    )
