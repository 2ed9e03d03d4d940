"""A job on machines whose reservation has ended: on most clouds they go on, and cost what they would on demand."""

from __future__ import annotations

import time

from sky_core.driver.step import Step
from sky_core.events import ReservationEnded
from sky_core.job.outcome import Outcome


def outlives(step: Step) -> Outcome | None:
    """The event that tells so, once for each attempt; None where there is nothing to tell."""
    cluster = step.cluster
    if cluster is None or cluster.reserved_until is None or cluster.reservation is None:
        return None
    if cluster.state != "launched" or step.memory.outlived == cluster.attempt:
        return None
    if time.time() < cluster.reserved_until:
        return None
    usd = None if cluster.price_after is None else cluster.price_after * cluster.num_nodes
    told = ReservationEnded(attempt=cluster.attempt, reservation=cluster.reservation, usd_per_hour=usd)
    return step.comes_to(outlived=cluster.attempt, events=[told])
