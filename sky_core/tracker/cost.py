"""What an hour of useful work costs on a machine that may be taken away.

With preemptions at rate r = 1/M per hour, a changeover (boot, set-up, restore) of R hours after each, and a
checkpoint of d hours after every T hours of work, an hour of work takes on average

    M e^(R/M) (e^((T + d)/M) - 1) / T

hours (Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006, eq. 20), and the
best T is about sqrt(2 d M) - d (Young 1974; Daly's first order). A task that cannot be checkpointed is one
interval of its whole length. Multiplied with the price this is Proteus' expected cost per expected work
(EuroSys'17, section 4) for one machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHORTEST_INTERVAL_H = 1 / 60


def checkpoint_interval(checkpoint_hours: float, preemptions_per_hour: float | Floats) -> Floats:
    """Hours of work between checkpoints by Young and Daly; infinite without preemptions. Shaped like the rates."""
    with np.errstate(divide="ignore"):
        best = np.sqrt(2 * checkpoint_hours / np.maximum(preemptions_per_hour, 0.0)) - checkpoint_hours
    return np.maximum(best, SHORTEST_INTERVAL_H)


def expected_overhead(
    work_hours: float | Floats,
    preemptions_per_hour: float | Floats,
    *,
    changeover_hours: float,
    checkpoint_hours: float | None,
    interval_hours: float | Floats | None = None,
) -> Floats:
    """Expected extra hours for each hour of work: 0.1 means that 10 hours of work take 11.

    It is infinite where the work would never end. Work, rates and intervals may be arrays; they broadcast.

    Args:
        work_hours: Useful work of the task.
        preemptions_per_hour: Rate at which the machine is taken away.
        changeover_hours: Boot, set-up and restore after a preemption. The first boot is not counted.
        checkpoint_hours: Time to take a checkpoint; None if the task cannot be checkpointed.
        interval_hours: Work between checkpoints; None for the best one.
    """
    rate = np.maximum(preemptions_per_hour, 0.0)
    if checkpoint_hours is None:
        interval, pause = np.asarray(work_hours), np.zeros(())
    else:
        best = checkpoint_interval(checkpoint_hours, rate) if interval_hours is None else np.asarray(interval_hours)
        interval, pause = np.minimum(best, work_hours), np.where(best < work_hours, checkpoint_hours, 0.0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        took = np.exp(changeover_hours * rate) * np.expm1((interval + pause) * rate) / rate / interval
    extra: Floats = np.where(rate > 0, took - 1, pause / interval)
    return extra
