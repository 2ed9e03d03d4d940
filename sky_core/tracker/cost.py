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

import math

SHORTEST_INTERVAL_H = 1 / 60


def checkpoint_interval(checkpoint_hours: float, preemptions_per_hour: float) -> float:
    """Hours of work between checkpoints by Young and Daly; infinite without preemptions."""
    if preemptions_per_hour <= 0:
        return math.inf
    mean_life = 1 / preemptions_per_hour
    best = math.sqrt(2 * checkpoint_hours * mean_life) - checkpoint_hours
    return max(best, SHORTEST_INTERVAL_H)


def expected_overhead(
    work_hours: float,
    preemptions_per_hour: float,
    *,
    changeover_hours: float,
    checkpoint_hours: float | None,
    interval_hours: float | None = None,
) -> float:
    """Expected extra hours for each hour of work: 0.1 means that 10 hours of work take 11.

    Args:
        work_hours: Useful work of the task.
        preemptions_per_hour: Rate at which the machine is taken away.
        changeover_hours: Boot, set-up and restore after a preemption. The first boot is not counted.
        checkpoint_hours: Time to take a checkpoint; None if the task cannot be checkpointed.
        interval_hours: Work between checkpoints; None for the best one.
    """
    if checkpoint_hours is None:
        interval, pause = work_hours, 0.0
    else:
        best = checkpoint_interval(checkpoint_hours, preemptions_per_hour) if interval_hours is None else interval_hours
        interval, pause = min(best, work_hours), checkpoint_hours if best < work_hours else 0.0
    rate = preemptions_per_hour
    if rate <= 0:
        return pause / interval
    try:
        took = math.exp(changeover_hours * rate) * math.expm1((interval + pause) * rate) / rate / interval
    except OverflowError:
        return math.inf  # it would practically never get through
    return took - 1
