"""The promise to be done by a deadline, or for little: when it is made, how far the work is, when it is in danger."""

from __future__ import annotations

import time
from datetime import datetime

from sky_core.driver.lead.berths import sold_at
from sky_core.driver.step import Step
from sky_core.driver.urls import location_of
from sky_core.events import DeadlineInDanger, Happening, TooSlow
from sky_core.job.memory import Changes, Promise, Saved
from sky_core.job.outcome import Outcome
from sky_core.measures.scale import Scale
from sky_core.planner.deadlines import task_hours
from sky_core.planner.offers import CHECKPOINT_HOURS
from sky_core.planner.plan import Placement
from sky_core.remote.answers import JobState
from sky_core.store import Cluster
from sky_core.tracker import Tracker, checkpoint_interval
from sky_core.tracker.cost import SHORTEST_INTERVAL_H

CHANGEOVER_HOURS = 0.2
"""Until one was measured: the delay of *Can't Be Late* (NSDI'24, section 5.1)."""
SYNC_SHARE = 0.05
RATE_MEMORY_HOURS = 30 * 24.0


def due_at(step: Step) -> float | None:
    """When a task that may use spot has to be done (seconds since the epoch); None if there is no such time."""
    return deadline_at(step) if step.task.resources.may_use_spot else None


def deadline_at(step: Step) -> float | None:
    """When the task has to be done (seconds since the epoch); None if it has no deadline.

    Its own deadline counts from its submission; of the pipeline's it gets its share (:func:`task_hours`).
    """
    _, pipeline, plan = step.planned()
    scale, now = step.driving.settings.scale, time.time()
    own, whole = step.task.deadline, plan.objective.deadline
    due = []
    if own is not None:
        due.append(_moment(own, step.job.created_at, scale))
    if whole is not None:
        hours = scale.hours(_moment(whole, plan.begun, scale) - now)
        due.append(now + scale.seconds(task_hours(pipeline, plan, step.job.task, hours)))
    return min(due, default=None)


def hour_usd(step: Step, kind: Placement) -> float | None:
    """What an hour is worth of a task without a deadline that a policy leads; None if none does.

    One does where work is kept, time is not all that counts, and the plan takes spot.
    """
    plan, task = step.planned()[2], step.task
    if task.checkpoint is None or task.elastic is not None or not kind.use_spot or plan.objective.minimize == "time":
        return None
    given = step.settings.spot_hour_usd
    return kind.price * kind.num_nodes if given is None else given


def _moment(deadline: datetime | float, since: float, scale: Scale) -> float:
    return deadline.timestamp() if isinstance(deadline, datetime) else since + scale.seconds(deadline)


def remaining_work(step: Step, promise: Promise, here: Cluster | None) -> float:
    """Hours of work that are left, less than none of a job that has outrun its estimate.

    Between attempts it is all that no checkpoint holds. On spot, what was done since the newest one counts up to
    ``at_risk`` hours, by which the policy's deadline is earlier than the job's.
    """
    done = promise.saved
    if here is not None:
        ran = hours_done(step, promise)
        done = min(ran, promise.saved + promise.at_risk) if here.use_spot else ran
    return promise.work - done


def hours_done(step: Step, promise: Promise) -> float:
    """Hours of work that the running attempt and the checkpoint it began with have done."""
    since = step.memory.running_since
    return promise.begun + (step.driving.settings.scale.hours(time.time() - since) if since else 0.0)


def unsaved(step: Step, promise: Promise) -> float:
    """Hours of work since the newest checkpoint, 0 where they are as few as they should be."""
    hours = hours_done(step, promise) - promise.saved
    return hours if hours > promise.at_risk else 0.0


def hours_left(step: Step, promise: Promise) -> float:
    """Hours to the deadline, less two looks at the job: nothing is decided sooner than that."""
    settings = step.driving.settings
    return settings.scale.hours(promise.due - time.time() - 2 * settings.poll_s)


def changeover(promise: Promise) -> float:
    """Hours from a launch to a running command: the longest so far."""
    return CHANGEOVER_HOURS if promise.changeover is None else promise.changeover


def noted(step: Step, cluster: Cluster, state: JobState) -> Changes:
    """What a look at the agent changes in the memory: the newest checkpoint, and the work that it holds."""
    memory, scale, now = step.memory, step.driving.settings.scale, time.time()
    changes: Changes = {}
    generation = state.checkpoint_generation
    fresh = (
        generation is not None
        and state.checkpoint_bytes
        and (memory.checkpoint is None or generation > memory.checkpoint.generation)
    )
    if fresh:
        changes["checkpoint"] = Saved(
            generation=generation,
            location=location_of(step, cluster),
            gb=scale.gb(state.checkpoint_bytes),
            hours=scale.hours(state.checkpoint_seconds),
            seen_at=now,
        )
    promise, since = memory.promise, memory.running_since
    if promise is None or not _has_begun(state):
        return changes
    if since is None:  # the first look at the running command
        took = scale.hours(now - (cluster.launched_at or now) - (memory.in_queue_s or 0.0))
        begun = promise.saved if state.restored_generation is not None else 0.0
        told = {"begun": begun, "saved": begun, "changeover": max(took, promise.changeover or 0.0), "looked": now}
    elif fresh:  # taken after the last look, so it holds at least the work done by then
        told = {"saved": promise.begun + scale.hours((promise.looked or since) - since), "looked": now}
    else:
        told = {"looked": now}
    return {**changes, "promise": promise.model_copy(update=told)}


def _has_begun(state: JobState) -> bool:
    """Whether the command has run: an attempt may be taken back before, and then nothing is lost that was saved."""
    if state.phase == "done":
        return state.exit_code is not None or "running" in state.seconds
    return state.phase in ("running", "outputs")


def too_slow(step: Step, cluster: Cluster) -> Outcome | None:
    """The end of a spot machine that does not get going and has used up the time to try one."""
    promise = step.memory.promise
    if promise is None or not promise.firm or not cluster.use_spot:
        return None
    left = hours_left(step, promise)
    if left >= remaining_work(step, promise, None) + changeover(promise):
        return None
    return step.comes_to(closing="slow", events=[TooSlow(attempt=cluster.attempt, hours_left=left)])


def warning(step: Step, promise: Promise, here: Cluster | None) -> list[Happening]:
    """One event, once, when even on-demand would not be done in time."""
    left = hours_left(step, promise)
    needed = remaining_work(step, promise, here) + (0.0 if here else changeover(promise))
    if promise.warned or not promise.firm or left >= needed:
        return []
    return [DeadlineInDanger(hours_left=left, hours_needed=needed)]


def checkpoint_hours(step: Step, place: Placement | Cluster, *, firm: bool) -> float | None:
    """Hours of work between two syncs: the user's, else Young's and Daly's on spot; None leaves it to the agent.

    With a deadline they are no further apart than keeps their share of the time at ``SYNC_SHARE``: what is at risk
    between two of them is slack that the policy cannot use.
    """
    checkpoint = step.task.checkpoint
    if checkpoint is None or checkpoint.interval is not None or not place.use_spot:
        return checkpoint.interval if checkpoint else None
    scale, now, kept = step.driving.settings.scale, time.time(), step.memory.checkpoint
    tracker = Tracker(step.driving.store.observations(since=now - scale.seconds(RATE_MEMORY_HOURS)), now)
    took = kept.hours if kept else CHECKPOINT_HOURS
    best = float(checkpoint_interval(took, tracker.preemptions_per_hour(sold_at(place))))
    return min(best, max(took / SYNC_SHARE, SHORTEST_INTERVAL_H)) if firm else best
