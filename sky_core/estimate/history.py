"""What past runs of a task say about its next one.

The model: hours = pace(machine) x (a + b x input GB), with a, b >= 0. The line is fitted robustly (Theil-Sen),
the pace of each kind of machine is the median of what its runs took against the line, drawn towards the
published ratio of the devices while there are few runs. Machines that the task never ran on get the published
ratio and, since paper ratios deceive, a margin: going elsewhere has to promise more than the ratio's usual error.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sky_core.estimate.hardware import peak_tflops

if TYPE_CHECKING:
    from sky_core.store import Run

RECENT = 50
"""Runs looked at: code and data change, and older runs tell little."""
PUBLISHED_ERROR = 0.25
"""Relative error of a ratio of published speeds, as a standard deviation."""
UNTRIED_MARGIN = 1 + PUBLISHED_ERROR
"""What an untried machine's estimate is multiplied with (benchmarks/learning.py shows what others would cost)."""
FIRST_ERROR = 0.3
"""Relative error assumed of a task that ran once."""
ROUNDS = 5
"""Alternations between fitting the line and the paces; they settle in two or three."""


@dataclass(frozen=True)
class Kind:
    """A kind of machine as far as run time goes.

    Attributes:
        name: ``"V100:4"``, or the instance type of a machine without accelerators.
        speed: Published speed in TFLOPS, or vCPUs of a machine without accelerators; None where unknown.
        unit: What ``speed`` counts: ``"tflops"`` or ``"vcpus"``.
    """

    name: str
    speed: float | None
    unit: str

    @classmethod
    def of(cls, instance_type: str, accelerator: str | None, count: float | None, vcpus: float | None) -> Kind:
        """The kind of a machine with these properties."""
        if accelerator:
            return cls(f"{accelerator}:{count:g}", peak_tflops(accelerator, count or 1), "tflops")
        return cls(instance_type, vcpus, "vcpus")


@dataclass(frozen=True)
class History:
    """A fitted model of one task's run times.

    Attributes:
        reference: The kind of machine with pace 1: the one most runs were made on.
        base: Hours at no input, on the reference.
        per_gb: Hours for each GB of input, on the reference.
        pace: Hours relative to the reference, by name of the kinds that were tried.
        relative_error: Typical deviation of a run from the model, as a fraction.
        runs: How many runs it rests on.
    """

    reference: Kind
    base: float
    per_gb: float
    pace: Mapping[str, float]
    relative_error: float
    runs: int

    def hours(self, kind: Kind, input_gb: float) -> float:
        """Expected hours on such a machine, with the margin for machines that were never tried."""
        line = self.base + self.per_gb * input_gb
        if kind.name in self.pace:
            return self.pace[kind.name] * line
        return published_pace(kind, self.reference) * UNTRIED_MARGIN * line


def fit(runs: Sequence[Run], vcpus: Mapping[str, float]) -> History:
    """Fit the model to past runs (at least one), oldest first.

    Args:
        runs: Past successful runs of one task.
        vcpus: vCPUs by instance type, as far as known.
    """
    recent = runs[-RECENT:]
    kinds = [
        Kind.of(run.instance_type, run.accelerator, run.accelerator_count, vcpus.get(run.instance_type))
        for run in recent
    ]
    hours = np.array([run.hours for run in recent])
    size = np.array([run.input_gb for run in recent])
    reference = statistics.mode(reversed(kinds))
    by_name = {kind.name: kind for kind in kinds}
    pace = {name: published_pace(kind, reference) for name, kind in by_name.items()}
    base = per_gb = 0.0
    for _ in range(ROUNDS):
        base, per_gb = robust_line(size, hours / np.array([pace[kind.name] for kind in kinds]))
        line = base + per_gb * size
        for name, kind in by_name.items():
            if kind != reference:
                took = [hour / expected for hour, expected, k in zip(hours, line, kinds, strict=True) if k == kind]
                pace[name] = _shrunk(published_pace(kind, reference), took)
    residuals = np.abs(np.log(hours / (line * np.array([pace[kind.name] for kind in kinds]))))
    error = float(1.4826 * np.median(residuals)) if len(recent) > 2 else FIRST_ERROR
    return History(reference, base, per_gb, pace, max(error, 0.01), len(recent))


def published_pace(kind: Kind, reference: Kind) -> float:
    """Hours on ``kind`` relative to ``reference`` by published speeds; 1 where they do not compare.

    Peak TFLOPS for accelerators. For plain machines, fewer vCPUs take longer in proportion and more are not
    taken to help, as nobody knows how parallel the task is until it was tried.
    """
    if kind.name == reference.name or kind.unit != reference.unit or not kind.speed or not reference.speed:
        return 1.0
    pace = reference.speed / kind.speed
    return max(pace, 1.0) if kind.unit == "vcpus" else pace


def _shrunk(prior: float, took: Sequence[float]) -> float:
    """What was measured and what is published, in the log, each by its certainty."""
    logs = [math.log(ratio) for ratio in took]
    middle = statistics.median(logs)
    spread = (FIRST_ERROR**2 + sum((value - middle) ** 2 for value in logs)) / (1 + len(logs))
    weight = PUBLISHED_ERROR**2 / (PUBLISHED_ERROR**2 + spread / len(logs))
    return math.exp(weight * middle + (1 - weight) * math.log(prior))


def robust_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Non-negative (intercept, slope) of y over x: Theil-Sen, which half the points less one cannot mislead.

    With no spread in x the slope is 0; where the line would cut below zero it is forced through the origin.
    """
    left, right = np.triu_indices(len(x), 1)
    apart = np.abs(x[right] - x[left]) > 1e-9 + 0.02 * np.max(x, initial=0.0)
    if not apart.any():
        return float(np.median(y)), 0.0
    slopes = (y[right] - y[left])[apart] / (x[right] - x[left])[apart]
    slope = max(0.0, float(np.median(slopes)))
    intercept = float(np.median(y - slope * x))
    if intercept < 0:
        return 0.0, float(np.median(y[x > 0] / x[x > 0]))
    return intercept, slope


def next_input_gb(runs: Sequence[Run]) -> float:
    """GB the next run will probably read: the last run's, plus the usual growth from run to run."""
    sizes = [run.input_gb for run in runs[-RECENT:]]
    growth = [after - before for before, after in itertools.pairwise(sizes)]
    return max(0.0, sizes[-1] + (statistics.median(growth) if growth else 0.0))
