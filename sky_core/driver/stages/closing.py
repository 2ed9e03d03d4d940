"""The end of an attempt: machines first, verdict after. A job is over only once nothing of it costs money."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import TAG_CLUSTER, Cloud, Found, Instance
from sky_core.driver.stages.ending import found_in_bucket
from sky_core.driver.stages.launch import observation, request_for
from sky_core.driver.step import Step
from sky_core.errors import CloudError, NotConnected, UnknownOutcome
from sky_core.facts import facts_of
from sky_core.job.attempts import MOST_IN_A_PLACE
from sky_core.job.bill import lifetime, sharpened
from sky_core.store import Cluster
from sky_core.store.records import Seen

OBSERVED: dict[str, Seen] = {
    "preempted": "preempted",
    "lost": "preempted",
}
LONGEST_WAIT_S = 60.0
MOST_TOLD = 10  # events about one end that does not come off


def cancel(step: Step) -> None:
    """Turn towards the end because somebody asked for it."""
    step.save(closing="cancelled", verdict="cancelled", result={"exit_code": None, "error": step.job.cancel_reason})


def close(step: Step) -> None:
    """End the open cluster, wait until its cloud says so, then end the job or begin its next attempt."""
    memory = step.memory
    if step.cluster is not None and not _ended(step, step.cluster, memory.closing or "ended"):
        return
    if memory.verdict is not None:
        if step.successor is None:  # else it is what the next step closes
            about = {key: value for key, value in memory.result.items() if key != "outputs"}
            step.save(state=memory.verdict, events=[(memory.verdict, about)])
            step.driving.pilots.pop(step.job.id, None)
            step.driving.hearing.forget(step.job.id)
        return
    if found_in_bucket(step):
        return
    since, scale = memory.running_since, step.driving.settings.scale
    ran = None if since is None else scale.hours(max(0.0, time.time() - since))
    fresh = memory.next_attempt(ran).model_copy(update={"waiting_since": time.time()} if step.successor else {})
    step.save(state="recovering", events=[("recovering", {"after": memory.closing})], **dict(fresh))


def drop(step: Step, successor: Cluster) -> None:
    """End machines that were to take over and are not wanted any more; the present attempt goes on."""
    _ended(step, successor, "unclear")


def _ended(step: Step, cluster: Cluster, outcome: str) -> bool:
    """Terminate the cluster's machines; True once none of them runs and that is written down."""
    # Only the tag finds what an interrupted launch may have left: its ids were never written down.
    unasked = step.never_asked(cluster)
    seen: list[Instance] = []
    try:
        if not unasked:
            cluster, anew = _ordered(step, cluster)
            seen, took_s = _taken_down(step.driving.clouds[cluster.cloud], cluster)
            if anew and cluster.stopped_at is not None:  # it took some time until somebody heard it
                cluster = replace(cluster, stopped_at=cluster.stopped_at + took_s)
    except NotConnected as error:
        if cluster.state == "launched":
            return _not_yet(step, error)
        # It was not asked for from here; if it was from another host, it stays owed.
    except CloudError as error:
        return _not_yet(step, error)
    if any(_costs(instance) for instance in seen):
        step.save(after_s=step.driving.settings.poll_s)
        return False
    ended = _as_ended(cluster, outcome, seen)
    known = unasked or cluster.state == "launched"
    step.save(
        cluster=ended,
        close_errors=0,
        launches=[request_for(cluster, settled=outcome)] if known else (),
        observations=[observation(ended, _seen(step, outcome), hours=lifetime(ended, step.driving.settings.scale))],
        events=[("terminated", {"attempt": cluster.attempt, "outcome": outcome})],
    )
    step.driving.unasked.pop(cluster.token, None)
    return True


def _costs(instance: Instance) -> bool:
    if instance.state == "stopping" and instance.ended_at is None:
        return facts_of(instance.cloud).bills_stopping(instance.instance_type)
    return instance.state in ("pending", "running")


def _ordered(step: Step, cluster: Cluster) -> tuple[Cluster, bool]:
    """Write down when the machines' end is ordered, before it is: that is their end where the cloud keeps no record.

    Returns:
        The cluster, and whether this is the order: False after an outage before which a driver gave one that was heard.
    """
    if cluster.stopped_at is not None:
        seen = step.driving.clouds[cluster.cloud].describe(cluster.instance_ids)
        if not any(instance.state in ("pending", "running") for instance in seen):
            return cluster, False
    ordered = replace(cluster, stopped_at=step.driving.store.now())
    step.save(cluster=ordered)
    return ordered, True


def _taken_down(cloud: Cloud, cluster: Cluster) -> tuple[list[Instance], float]:
    """The cluster's machines after they were told to end, and how many seconds it took until the order was taken.

    Raises:
        CloudError: if that cannot be done, or their region does not say what is there.
    """
    begun, found = time.monotonic(), Found(())
    if cluster.state != "launched":
        tags = {TAG_CLUSTER: cluster.token}
        found = cloud.find(tags, regions=[cluster.region], instance_type=cluster.instance_type)
    ids = cluster.instance_ids or tuple(dict.fromkeys(instance.id for instance in found.instances))
    cloud.terminate(ids)
    took_s = time.monotonic() - begun
    if found.unreachable:
        raise UnknownOutcome("; ".join(f"{place}: {why}" for place, why in found.unreachable.items()))
    now = cloud.describe(ids) if ids else []
    started = {instance.id: instance.launched_at for instance in found.instances}
    return [replace(i, launched_at=i.launched_at or started.get(i.id)) for i in now], took_s


def _as_ended(cluster: Cluster, outcome: str, seen: Sequence[Instance]) -> Cluster:
    """The cluster as it ended: by the cloud's own record of its machines where it has one, else as it was ordered."""
    now, began, ordered = time.time(), cluster.started_at, cluster.stopped_at
    starts = [instance.launched_at for instance in seen if instance.launched_at is not None]
    ends = [instance.ended_at for instance in seen if instance.ended_at is not None]
    return replace(
        cluster,
        state="ended",
        ended_at=now,
        outcome=outcome,
        instance_ids=tuple(dict.fromkeys(instance.id for instance in seen)) or cluster.instance_ids,
        started_at=sharpened(min(starts), cluster.intended_at) if began is None and starts else began,
        stopped_at=sharpened(max(ends), ordered or now) if seen and len(ends) == len(seen) else ordered,
    )


def _not_yet(step: Step, error: CloudError) -> bool:
    """Come back later to end machines whose cloud does not answer, ever less often; the job is not over before."""
    errors = step.memory.close_errors + 1
    step.save(
        after_s=min(2.0**errors, LONGEST_WAIT_S),
        close_errors=errors,
        events=[("terminate failed", {"error": str(error)})] if errors <= MOST_TOLD else [],
    )
    return False


def _seen(step: Step, outcome: str) -> Seen:
    """What the end teaches of the place: it is out of reach if it was silent as often as one job may try it."""
    if outcome != "unreachable":
        return OBSERVED.get(outcome, "released")
    memory = step.memory
    before = memory.tries.times_at(memory.placement) if memory.placement else 0
    silent = memory.running_since is None and before + 1 >= MOST_IN_A_PLACE
    return "unreachable" if silent else "released"
