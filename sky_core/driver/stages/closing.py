"""The end of an attempt: machines first, verdict after. A job is over only once nothing of it costs money."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import TAG_CLUSTER, Found, Instance
from sky_core.driver.stages.ending import found_in_bucket
from sky_core.driver.stages.launch import observation, request_for
from sky_core.driver.stages.reaching import end_on_record, free_until_run, has_not_run, look, none_has_run
from sky_core.driver.step import Step
from sky_core.driver.warm.parking import CannotKeep, park
from sky_core.errors import AuthError, CloudError, NotConnected, UnknownOutcome
from sky_core.events import (
    Cancelled,
    Failed,
    LeftOwed,
    NotKept,
    Over,
    Recovering,
    Succeeded,
    Terminated,
    TerminateFailed,
)
from sky_core.facts import facts_of
from sky_core.job.attempts import MOST_IN_A_PLACE
from sky_core.job.bill import lifetime, on_record
from sky_core.job.memory import Memory, Verdict
from sky_core.job.outcome import Outcome
from sky_core.measures.scale import Scale
from sky_core.store import Cluster, Result
from sky_core.store.records import Seen

OBSERVED: dict[str, Seen] = {
    "preempted": "preempted",
    "lost": "preempted",
}
OVER: dict[Verdict, type[Over]] = {"succeeded": Succeeded, "failed": Failed, "cancelled": Cancelled}
LONGEST_WAIT_S = 60.0
LEFT_OWED_AFTER = 3  # refusals of a login in a row
MOST_TOLD = 10  # events about one end that does not come off


def cancel(step: Step) -> Outcome:
    """Turn towards the end because somebody asked for it."""
    result: Result = {"exit_code": None, "error": step.job.cancel_reason}
    return step.comes_to(closing="cancelled", verdict="cancelled", result=result)


def close(step: Step) -> Outcome:
    """End the open cluster and wait until its cloud says so, or keep it; then end the job or begin its next attempt."""
    memory, told = step.memory, step.comes_to()
    if step.mends:
        return _mends_ended(step, memory.closing or "ended")
    left = step.cluster or (step.successor if memory.verdict is not None else None)
    if left is not None:
        told = _let_go(step, left, memory.closing or "ended")
        if not told.has_ended(left):
            return told
    if memory.verdict is not None:
        more = step.successor is not None and left is not step.successor
        return told if more else told.then(_over(step.after(told), memory.verdict))
    return told.then(_begun_anew(step.after(told)))


def _mends_ended(step: Step, why: str) -> Outcome:
    """The end of the machines that have joined later: of all at once, since each is paid for until then."""
    told, after_s = step.comes_to(), 0.0
    for mend in step.mends:
        told = told.then(end(step.after(told), mend, why))
        after_s = max(after_s, told.after_s)
    return replace(told, after_s=after_s)


def _let_go(step: Step, cluster: Cluster, why: str) -> Outcome:
    """Keep the cluster's machines for another job if that is asked for and can be; else end them."""
    try:
        return park(step, cluster) or end(step, cluster, why)
    except CannotKeep as error:
        told = step.comes_to(events=[NotKept(attempt=cluster.attempt, why=str(error))])
        return told.then(end(step.after(told), cluster, why))


def _over(step: Step, verdict: Verdict) -> Outcome:
    result = step.memory.result
    event = OVER[verdict](
        exit_code=result.get("exit_code"), error=result.get("error"),
        value=result.get("value"), value_error=result.get("value_error"),
    )  # fmt: skip
    step.driving.forget(step.job.id)
    return step.comes_to(state=verdict, events=[event])


def _begun_anew(step: Step) -> Outcome:
    """The next attempt, unless the bucket says that the last one has done it all, or cannot be asked just now."""
    found = found_in_bucket(step)
    if isinstance(found, Outcome):
        return found
    memory, scale = step.memory, step.driving.settings.scale
    ran, saved = memory.running_since is not None, _hours_saved(memory, scale, time.time())
    fresh = memory.next_attempt(ran=ran, saved_hours=saved)
    if step.successor is not None:
        fresh = fresh.model_copy(update={"waiting_since": time.time()})
    told = step.comes_to(state="recovering", events=[*found, Recovering(after=memory.closing)])
    return replace(told, memory=fresh)


def _hours_saved(memory: Memory, scale: Scale, now: float) -> float:
    """Hours that the command ran in this attempt until its newest checkpoint."""
    if memory.running_since is None or memory.checkpoint is None:
        return 0.0
    return scale.hours(max(0.0, (memory.checkpoint.seen_at or now) - memory.running_since))


def drop(step: Step, successor: Cluster) -> Outcome:
    """End machines that were to take over and are not wanted any more; the present attempt goes on."""
    return end(step, successor, "unclear")


def end(step: Step, cluster: Cluster, why: str) -> Outcome:
    """Terminate the cluster's machines: its end is in the outcome once none of them runs."""
    # Only the tag finds what an interrupted launch may have left: its ids were never written down.
    unasked = step.never_asked(cluster)
    seen: list[Instance] = []
    try:
        if not unasked:
            fresh = step.driving.ordered.pop(cluster.token, None) == step.job.lease_epoch
            if not (fresh or _was_heard(step, cluster)):
                return _ordered(step, cluster)
            seen, took_s = _taken_down(step, cluster)
            # It took some time until somebody heard it.
            if fresh and cluster.stopped_at is not None and _has_a_bill(cluster):
                cluster = replace(cluster, stopped_at=cluster.stopped_at + took_s)
    except NotConnected as error:
        if cluster.state == "launched":
            return _not_yet(step, error)
        # It was not asked for from here; if it was from another host, it stays owed.
    except AuthError as error:
        may_leave = step.memory.verdict == "succeeded" and step.memory.close_errors + 1 >= LEFT_OWED_AFTER
        return _left_owed(step, cluster, why, error) if may_leave else _not_yet(step, error)
    except CloudError as error:
        return _not_yet(step, error)
    if any(costs(instance) for instance in seen):
        return step.comes_to(after_s=step.driving.settings.poll_s)
    ended = as_ended(cluster, why, seen)
    known, taught = unasked or cluster.state == "launched", _seen(step, ended, why)
    hours = None if taught == "capacity" else lifetime(ended, step.driving.settings.scale)
    step.driving.unasked.pop(cluster.token, None)
    step.driving.knock_at.pop(cluster.token, None)
    return step.comes_to(
        cluster=ended,
        close_errors=0,
        launches=[request_for(cluster, settled=why)] if known else (),
        observations=[observation(ended, taught, hours=hours)],
        events=[Terminated(attempt=cluster.attempt, outcome=why)],
    )


def _left_owed(step: Step, cluster: Cluster, why: str, error: AuthError) -> Outcome:
    """The end of an attempt that has done its work, on machines that a login may not end.

    What waits for its outputs need not wait for somebody to log in: its launch stays owed, which is seen to.
    """
    told = [LeftOwed(attempt=cluster.attempt, why=str(error))]
    return step.comes_to(cluster=as_ended(cluster, why, []), close_errors=0, events=told)


def costs(instance: Instance) -> bool:
    """Whether it is still paid for."""
    if instance.state == "stopping" and instance.ended_at is None:
        return facts_of(instance.cloud).bills_stopping(instance.instance_type)
    return instance.state in ("pending", "running")


def _was_heard(step: Step, cluster: Cluster) -> bool:
    """Whether an order from before an outage, or from another driver, was heard: there is nothing to order anew.

    Raises:
        CloudError: if the cloud does not say.
    """
    if cluster.stopped_at is None:
        return False
    return not any(instance.state in ("pending", "running") for instance in look(step, cluster))


def _ordered(step: Step, cluster: Cluster) -> Outcome:
    """When the machines' end is ordered, written down before it is: their end where the cloud keeps no record.

    What has not run by then, in its cloud's queue or on its way, ends as it begins: it costs nothing.
    """
    has_run, now = not none_has_run(step, cluster), step.driving.store.now()
    step.driving.ordered[cluster.token] = step.job.lease_epoch
    return step.comes_to(cluster=replace(cluster, started_at=cluster.started_at if has_run else now, stopped_at=now))


def _has_a_bill(cluster: Cluster) -> bool:
    """Whether its machines had run when their end was ordered."""
    return cluster.started_at is None or cluster.started_at != cluster.stopped_at


def _taken_down(step: Step, cluster: Cluster) -> tuple[list[Instance], float]:
    """The cluster's machines after they were told to end, and how many seconds it took until the order was taken.

    Raises:
        CloudError: if that cannot be done, or their region does not say what is there.
    """
    cloud, begun, found = step.driving.clouds[cluster.cloud], time.monotonic(), Found(())
    if cluster.state != "launched":
        tags = {TAG_CLUSTER: cluster.token}
        found = cloud.find(tags, regions=[cluster.region], instance_type=cluster.instance_type)
    ids = cluster.instance_ids or tuple(dict.fromkeys(instance.id for instance in found.instances))
    cloud.terminate(ids)
    took_s = time.monotonic() - begun
    if found.unreachable:
        raise UnknownOutcome("; ".join(f"{place}: {why}" for place, why in found.unreachable.items()))
    now = look(step, replace(cluster, instance_ids=ids)) if ids else []
    started = {instance.id: instance.launched_at for instance in found.instances}
    free = {instance.id for instance in found.instances if has_not_run(instance) and free_until_run(cluster)}
    began = {i.id: None if i.id in free else i.launched_at or started.get(i.id) for i in now}
    return [replace(i, launched_at=began[i.id]) for i in now], took_s


def as_ended(cluster: Cluster, outcome: str, seen: Sequence[Instance]) -> Cluster:
    """The cluster as it ended: by the cloud's own record of its machines where it has one, else as it was ordered."""
    now, began, ordered = time.time(), cluster.started_at, cluster.stopped_at
    if began is None:
        began = on_record([instance.launched_at for instance in seen], cluster.intended_at)
    stopped_at = end_on_record(seen, ordered or now) if _has_a_bill(cluster) else ordered
    return replace(
        cluster,
        state="ended",
        ended_at=now,
        outcome=outcome,
        instance_ids=tuple(dict.fromkeys(instance.id for instance in seen)) or cluster.instance_ids,
        started_at=began,
        stopped_at=ordered if stopped_at is None else stopped_at,
    )


def _not_yet(step: Step, error: CloudError) -> Outcome:
    """Come back later to end machines whose cloud does not answer, ever less often; the job is not over before."""
    errors = step.memory.close_errors + 1
    return step.comes_to(
        after_s=min(2.0**errors, LONGEST_WAIT_S),
        close_errors=errors,
        events=[TerminateFailed(error=str(error))] if errors <= MOST_TOLD else [],
    )


def _seen(step: Step, cluster: Cluster, outcome: str) -> Seen:
    """What the end teaches of the place: it is out of reach if it was silent as often as one job may try it.

    A place where a machine of a gang has died before the gang began could not give so many: the next try is elsewhere.
    """
    memory = step.memory
    if outcome == "died" and cluster.num_nodes > 1 and memory.running_since is None:
        return "capacity"
    if outcome != "unreachable":
        return OBSERVED.get(outcome, "released")
    before = memory.tries.times_at(memory.placement) if memory.placement else 0
    silent = memory.running_since is None and before + 1 >= MOST_IN_A_PLACE
    return "unreachable" if silent else "released"
