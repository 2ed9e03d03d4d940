"""What past runs of a task say about its next one.

The model: hours = pace(machine) x (a + b x input GB), with a, b >= 0. The line is fitted robustly (Theil-Sen),
the pace of each kind of machine is the median of what its runs took against the line, drawn towards the
published ratio of the devices while there are few runs. Machines that the task never ran on have the published
ratio only, and paper ratios deceive: see :func:`outlook`.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
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
ENOUGH_TRIES = 3
"""Runs after which a kind of machine is judged by what it did alone."""
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

    def compares(self, other: Kind) -> bool:
        """Whether both are accelerators with published speeds."""
        return self.unit == other.unit == "tflops" and bool(self.speed) and bool(other.speed)

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
        tries: How many runs it rests on, by name of the kind.
    """

    reference: Kind
    base: float
    per_gb: float
    pace: Mapping[str, float]
    relative_error: float
    tries: Mapping[str, int]

    @property
    def runs(self) -> int:
        """How many runs it rests on."""
        return sum(self.tries.values())

    def pace_of(self, kind: Kind) -> float:
        """Hours relative to the reference: measured, or published if the task never ran on such a machine."""
        return self.pace.get(kind.name) or published_pace(kind, self.reference)

    def hours(self, kind: Kind, input_gb: float) -> float:
        """Expected hours on such a machine."""
        return self.pace_of(kind) * (self.base + self.per_gb * input_gb)


def outlook(model: History, rates: Mapping[Kind, float], first: Kind) -> dict[str, float]:
    """What to multiply the hours of kinds of machine with that were tried never or hardly, by name.

    With caution, as a rule: going elsewhere has to promise more than a ratio's usual error. But who is always
    cautious stays with the first machine that is good enough. So an untried accelerator is read hopefully, and
    thereby tried once, as long as even at worst it costs less than the machine of the very first run: what is
    risked is part of what was saved since (a conservative bandit). A kind that was tried but once or twice gets
    the benefit of the doubt in the same way, as one noisy run may have wronged it.

    Args:
        rates: USD per hour of the cheapest candidate of each kind.
        first: The kind of machine of the task's first run.
    """
    most = rates[first] * model.pace_of(first) if first in rates else 0.0

    def affordable(kind: Kind, error: float) -> bool:
        return kind.compares(first) and rates[kind] * model.pace_of(kind) * (1 + 2 * error) <= most

    factors = {}
    for kind in rates:
        tries = model.tries.get(kind.name, 0)
        if tries == 0:
            hopeful = affordable(kind, PUBLISHED_ERROR)
            factors[kind.name] = 1 - PUBLISHED_ERROR if hopeful else 1 + PUBLISHED_ERROR
        elif tries < ENOUGH_TRIES and affordable(kind, model.relative_error):
            factors[kind.name] = 1 - model.relative_error / math.sqrt(tries)
    return factors


def fit(runs: Sequence[Run], vcpus: Mapping[str, float]) -> History:
    """Fit the model to past runs (at least one), oldest first.

    Args:
        runs: Past successful runs of one task.
        vcpus: vCPUs by instance type, as far as known.
    """
    recent = runs[-RECENT:]
    kinds = [kind_of_run(run, vcpus) for run in recent]
    hours = np.array([run.hours for run in recent])
    size = np.array([run.input_gb for run in recent])
    reference = statistics.mode(reversed(kinds))
    by_name = {kind.name: kind for kind in kinds}
    pace = {name: published_pace(kind, reference) for name, kind in by_name.items()}
    base = per_gb = 0.0
    error = FIRST_ERROR
    for _ in range(ROUNDS):
        base, per_gb = robust_line(size, hours / np.array([pace[kind.name] for kind in kinds]))
        line = base + per_gb * size
        for name, kind in by_name.items():
            if kind != reference:
                took = [hour / expected for hour, expected, k in zip(hours, line, kinds, strict=True) if k == kind]
                pace[name] = _shrunk(published_pace(kind, reference), took, error)
        residuals = np.abs(np.log(hours / (line * np.array([pace[kind.name] for kind in kinds]))))
        error = max(float(1.4826 * np.median(residuals)), 0.01) if len(recent) > 2 else FIRST_ERROR
    return History(reference, base, per_gb, pace, error, Counter(kind.name for kind in kinds))


def kind_of_run(run: Run, vcpus: Mapping[str, float]) -> Kind:
    """The kind of machine a past run was made on."""
    return Kind.of(run.instance_type, run.accelerator, run.accelerator_count, vcpus.get(run.instance_type))


def published_pace(kind: Kind, reference: Kind) -> float:
    """Hours on ``kind`` relative to ``reference`` by published speeds; 1 where they do not compare.

    Peak TFLOPS for accelerators. For plain machines, fewer vCPUs take longer in proportion and more are not
    taken to help, as nobody knows how parallel the task is until it was tried.
    """
    if kind.name == reference.name or kind.unit != reference.unit or not kind.speed or not reference.speed:
        return 1.0
    pace = reference.speed / kind.speed
    return max(pace, 1.0) if kind.unit == "vcpus" else pace


def _shrunk(prior: float, took: Sequence[float], error: float) -> float:
    """What was measured and what is published, in the log, each by its certainty; ``error`` is that of any one run."""
    logs = [math.log(ratio) for ratio in took]
    middle = statistics.median(logs)
    spread = (error**2 + sum((value - middle) ** 2 for value in logs)) / (1 + len(logs))
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
