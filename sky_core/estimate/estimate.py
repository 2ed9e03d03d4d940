"""How long a task will take on each candidate, and how we know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sky_core.estimate.declared import from_function, from_table, spread
from sky_core.estimate.explore import at_worst, longest, outlook
from sky_core.estimate.history import fit, next_input_gb
from sky_core.estimate.kinds import Kind, kind_of_run
from sky_core.spec import Artifact, Task

if TYPE_CHECKING:
    from sky_core.store import Run

SHAPE = ["instance_type", "accelerator", "accelerator_count", "vcpus"]
DEFAULT_HOURS = 1.0
"""A task that nobody knows anything about (dissertation, section 4.1.3)."""


@dataclass(frozen=True)
class Estimate:
    """Run times of one task on its candidates.

    Attributes:
        hours: (C,) hours without boot and set-up, NaN for candidates the task cannot run on.
        source: Where they come from, for people: ``"user"``, ``"history (7 runs)"``, ``"default (1 h)"``, …
        relative_error: Typical deviation of the actual from the estimate as a fraction; NaN where unknown.
        worst: (C,) hours at worst, if the machine of the task's first run takes as long as expected. What is known
            from elsewhere than history counts as certain.
        at_most: (C,) hours that all but one in twenty runs stay below; for promises.
    """

    hours: np.ndarray
    source: str
    relative_error: float
    worst: np.ndarray
    at_most: np.ndarray


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
        return _told(from_table(task, task.hours, candidates), "user")
    if callable(task.hours):
        source = str(getattr(task.hours, "source", "user's function"))
        return _told(from_function(task, task.hours, candidates), source)
    if task.hours is not None:
        return _told(np.full(count, float(task.hours)), "user")
    if history:
        return _from_history(candidates, history, declared_input_gb(task) if input_gb is None else input_gb)
    return _told(np.full(count, DEFAULT_HOURS), f"default ({DEFAULT_HOURS:g} h)")


def _told(hours: np.ndarray, source: str) -> Estimate:
    return Estimate(hours, source, math.nan, worst=hours, at_most=hours)


def declared_input_gb(task: Task) -> float | None:
    """GB of all inputs, None unless every size is given in the task itself."""
    sizes = [item.size_gb if isinstance(item, Artifact) else None for item in task.inputs.values()]
    return None if not sizes or None in sizes else math.fsum(size or 0.0 for size in sizes)


def _from_history(candidates: pl.DataFrame, runs: Sequence[Run], input_gb: float | None) -> Estimate:
    rate = "rate" if "rate" in candidates.columns else "price"  # the planner adds the price of the market chosen
    shapes = candidates.group_by(SHAPE, maintain_order=True).agg(pl.col(rate).min().fill_null(math.inf))
    vcpus = {row[0]: row[3] for row in shapes.iter_rows() if row[3] is not None}
    kind_of = {row[:4]: Kind.of(*row[:4]) for row in shapes.iter_rows()}
    rates: dict[Kind, float] = {}
    for row in shapes.iter_rows():
        rates[kind_of[row[:4]]] = min(row[4], rates.get(kind_of[row[:4]], math.inf))
    model = fit(runs, vcpus)
    first = kind_of_run(runs[0], vcpus)
    kinds = list({first: None, **rates})
    forecast = model.forecast(kinds, next_input_gb(runs) if input_gb is None else input_gb)
    lean = outlook(forecast, kinds, [rates.get(kind, math.inf) for kind in kinds], model.tries)
    hours = dict(zip(kinds, np.exp(forecast.mean) * lean, strict=True))
    worst = dict(zip(kinds, at_worst(forecast, first=0), strict=True))
    at_most = dict(zip(kinds, longest(forecast), strict=True))
    known = shapes.select(SHAPE)
    kind = [kind_of[row] for row in known.iter_rows()]
    noun = "run" if model.runs == 1 else "runs"
    return Estimate(
        hours=spread(candidates, known, [hours[each] for each in kind]),
        source=f"history ({model.runs} {noun}, ±{model.noise:.0%})",
        relative_error=model.noise,
        worst=spread(candidates, known, [worst[each] for each in kind]),
        at_most=spread(candidates, known, [at_most[each] for each in kind]),
    )
