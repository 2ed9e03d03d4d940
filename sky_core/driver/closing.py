"""The end of an attempt: machines first, verdict after. A job is over only once nothing of it costs money."""

from __future__ import annotations

import time
from dataclasses import replace

from sky_core.clouds.base import TAG_CLUSTER, Found
from sky_core.driver.launch import observation
from sky_core.driver.step import Step
from sky_core.errors import CloudError, NotConnected, UnknownOutcome
from sky_core.job.attempts import MOST_IN_A_PLACE
from sky_core.store import Cluster
from sky_core.store.records import Seen

OBSERVED: dict[str, Seen] = {
    "preempted": "preempted",
    "died": "preempted",
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
        return
    fresh = memory.next_attempt().model_copy(update={"waiting_since": time.time()} if step.successor else {})
    step.save(state="recovering", events=[("recovering", {"after": memory.closing})], **dict(fresh))


def drop(step: Step, successor: Cluster) -> None:
    """End machines that were to take over and are not wanted any more; the present attempt goes on."""
    _ended(step, successor, "unclear")


def _ended(step: Step, cluster: Cluster, outcome: str) -> bool:
    """Terminate the cluster's machines; True once none of them runs and that is written down."""
    try:
        cloud = step.driving.clouds[cluster.cloud]
        # Only the tag finds what an interrupted launch may have left: its ids were never written down.
        found = Found(())
        if cluster.state != "launched":
            place, kind = [cluster.region], cluster.instance_type
            found = cloud.find({TAG_CLUSTER: cluster.token}, regions=place, instance_type=kind)
        ids = cluster.instance_ids or tuple(instance.id for instance in found.instances)
        cloud.terminate(ids)
        if found.unreachable:
            raise UnknownOutcome("; ".join(f"{place}: {why}" for place, why in found.unreachable.items()))
        running = [i for i in cloud.describe(ids) if i.state in ("pending", "running")] if ids else []
    except NotConnected as error:
        if cluster.state == "launched":
            return _not_yet(step, error)
        ids, running = (), []  # no launch was ever asked for from here
    except CloudError as error:
        return _not_yet(step, error)
    if running:
        step.save(after_s=step.driving.settings.poll_s)
        return False
    now = time.time()
    ended = replace(cluster, state="ended", ended_at=now, outcome=outcome, instance_ids=ids)
    since = cluster.launched_at or now
    hours = step.driving.settings.scale.hours(now - since)
    step.save(
        cluster=ended,
        close_errors=0,
        observations=[observation(cluster, _seen(step, outcome), hours=hours)],
        events=[("terminated", {"attempt": cluster.attempt, "outcome": outcome})],
    )
    return True


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
