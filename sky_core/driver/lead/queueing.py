"""Waiting in a cloud's own queue: for how long, what it looks like meanwhile, and when it has been in vain.

A machine that takes over from one that runs, or joins a gang, is never queued for: it is to be had at once, or not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import REFUSALS, Instance
from sky_core.driver.lead.promise import CHANGEOVER_HOURS, changeover, deadline_at, remaining_work
from sky_core.driver.stages.reaching import LONGEST_PAUSE_S, while_pending
from sky_core.driver.step import Step
from sky_core.errors import CapacityError, CloudError
from sky_core.events import InQueue
from sky_core.job.outcome import Outcome
from sky_core.planner.alternatives import queue_hours
from sky_core.planner.plan import Placement
from sky_core.store import Cluster

PAUSE_SHARE = 0.05  # of the time that it has waited: the longer, the more seldom it is looked at


def queue_s(step: Step, placement: Placement) -> float | None:
    """Seconds for which a launch there may wait in its cloud's queue; None if it is to be refused at once.

    That is what the task says and the cloud takes, and no longer than its deadline leaves once the work is taken off
    that is still to do.
    """
    hours, scale = queue_hours(step.task.resources, placement), step.driving.settings.scale
    if not hours:
        return None
    due, promise = deadline_at(step), step.memory.promise
    if due is not None:
        needed = placement.hours_at_most + CHANGEOVER_HOURS
        if promise is not None:
            needed = remaining_work(step, promise, None) + changeover(promise)
        hours = min(hours, scale.hours(due - time.time() - 2 * step.driving.settings.poll_s) - needed)
    return scale.seconds(hours) if hours > 0 else None


def refusal(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> CloudError | None:
    """Why an accepted launch comes to nothing: what its cloud says of a machine, or that one waited for too long."""
    if failure := next((one.failed for one in instances if isinstance(one.failed, REFUSALS)), None):
        return failure
    waits = next((one for one in instances if one.queued), None)
    if waits is None or time.time() < _until(step, cluster):
        return None
    where, kind = cluster.zone or cluster.region, cluster.accelerator or cluster.instance_type
    return CapacityError(f"{where}: the queue has given no {kind} in time ({waits.reason})", scope="zone")


def in_queue(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> Outcome | None:
    """To come back a little later while a machine waits in its cloud's queue; None once none does.

    The time to boot counts from then on: a queue is no silence.
    """
    if not any(one.queued for one in instances):
        return None
    waited, scale = time.time() - cluster.intended_at, step.driving.settings.scale
    step.driving.hearing.forget(step.job.id)
    left = _until(step, cluster) - time.time()
    told = InQueue(
        attempt=cluster.attempt, cloud=cluster.cloud, region=cluster.region, zone=cluster.zone,
        instance_type=cluster.instance_type, use_spot=cluster.use_spot, hours=scale.hours(left),
    )  # fmt: skip
    pause = min(max(step.driving.settings.poll_s, PAUSE_SHARE * waited), LONGEST_PAUSE_S)
    after_s = max(0.0, min(pause, left))
    free = while_pending(step, cluster, instances)
    if free is not cluster and free.started_at is not None:  # nor will it cost anything before it is seen again
        free = replace(free, started_at=free.started_at + after_s)
    return step.comes_to(
        after_s=after_s,
        cluster=free,
        waiting_since=time.time(),
        in_queue_s=waited,
        events=[told] if step.memory.in_queue_s is None else [],
    )


def _until(step: Step, cluster: Cluster) -> float:
    """When the wait is over, seconds since the epoch."""
    return cluster.intended_at + (step.memory.queue_s or 0.0)
