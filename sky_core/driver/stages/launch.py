"""From a plan to machines: intent, launch, and failover with the rest of the DAG planned anew.

A launch is written down before it is made, under a token that makes it idempotent: a driver that dies anywhere
in between is replaced by one that makes the same call again and gets the same machines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import TAG_CLUSTER, TAG_JOB, TAG_OWNER, Instance, LaunchRequest
from sky_core.clouds.credentials import login_of
from sky_core.clouds.userdata import public_key
from sky_core.driver.lead.queueing import queue_s
from sky_core.driver.stages.reaching import WAY_PATIENCE_S, no_way_in, wait_for_the_way, way_cut
from sky_core.driver.step import Step
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    NotConnected,
    NotSetUp,
    NoWayIn,
    ProxyBroken,
    QuotaError,
    Scope,
    Throttled,
    UnknownOutcome,
)
from sky_core.events import GaveUp, Launched, Launching, LaunchUnclear, Limit, Refused, Where
from sky_core.job.attempts import Tries
from sky_core.job.bill import on_record
from sky_core.job.memory import Changes
from sky_core.job.outcome import Outcome
from sky_core.job.spending import caps, estimate, exceeded
from sky_core.planner.alternatives import alternative
from sky_core.planner.capacity import price_after
from sky_core.planner.market import load_catalog
from sky_core.planner.plan import Placement
from sky_core.remote import keys
from sky_core.remote.switch import switch
from sky_core.store import Cluster, JobState, Launch, Observation, Result
from sky_core.store.records import MEND, Seen

log = logging.getLogger(__name__)

REFUSALS: dict[type[CloudError], tuple[str, Seen]] = {
    CapacityError: ("capacity", "capacity"),
    QuotaError: ("quota", "quota"),
    AuthError: ("auth", "auth"),
    NoWayIn: ("no way in", "unreachable"),
    InvalidRequest: ("invalid", "invalid"),
}

MAX_LAUNCH_ERRORS = 8  # throttled or unclear calls in a row before a place is given up; waits double from 0.5 s


def intend(step: Step, placement: Placement) -> Outcome:
    """The intent to launch the next attempt's machines, as successors if the job is running.

    Where that would cost more than may be spent, the job ends instead; a running job stays where it is.
    """
    if why := too_dear(step, placement):
        return held_back(step, why)
    return _intent(step, placement)


def too_dear(step: Step, placement: Placement, mine: Cluster | None = None) -> str | None:
    """Which limit a launch there would exceed; ``mine`` is its intent, if that is written down already."""
    _, _, plan = step.planned()
    allowed = caps(step.settings, step.task, plan.objective)
    usd = estimate(placement, step.memory, first=not step.memory.checkpoint_urls)
    return exceeded(step.driving.store, step.settings, step.job, allowed, usd, mine) if allowed else None


def held_back(step: Step, why: str) -> Outcome:
    """A launch that a limit forbids: the job ends, or stays as it is where its machines run."""
    told = [Limit(why=why)]
    if step.cluster is None:
        result: Result = {"exit_code": None, "error": why}
        return step.comes_to(closing="limit", verdict="failed", result=result, events=told)
    known = bool(step.memory.held_back)
    return step.comes_to(after_s=step.driving.settings.poll_s, held_back=why, events=[] if known else told)


def new_token(step: Step) -> str:
    """What the job's next cluster is called."""
    return f"sky-{step.job.id.removeprefix('job-')}-{step.job.attempt + 1}"


def _intent(step: Step, placement: Placement) -> Outcome:
    attempt, token = step.job.attempt + 1, new_token(step)
    host_key = public_key(keys.identity(step.driving.settings, step.job.key_id).host_key(token))
    cluster = Cluster(
        token=token, job_id=step.job.id, attempt=attempt, state="intended", cloud=placement.cloud,
        region=placement.region, zone=placement.zone, instance_type=placement.instance_type,
        use_spot=placement.use_spot, num_nodes=placement.num_nodes, price=placement.price, host_key=host_key,
        intended_at=time.time(), accelerator=placement.accelerator, reservation=placement.reservation,
        reserved_until=placement.until, price_after=price_after(placement, load_catalog(step.settings.home)),
    )  # fmt: skip
    owed = request_for(cluster)
    told = [Launching(attempt=attempt, machine=placement.machine, **where(cluster))]
    step.driving.unasked[token] = step.job.lease_epoch
    if step.cluster is not None:
        return step.comes_to(attempt=attempt, cluster=cluster, successor=placement, launches=[owed], events=told)
    state: JobState = "recovering" if step.memory.log_base else "provisioning"
    return step.comes_to(
        state=state, attempt=attempt, cluster=cluster, placement=placement, launches=[owed], events=told,
        queue_s=queue_s(step, placement), in_queue_s=None,
    )  # fmt: skip


def launch(step: Step, cluster: Cluster) -> Outcome:
    """Make the intended launch; a refusal blocks what was refused.

    It then leads back to :func:`place`, unless the job is running elsewhere: it stays there.
    """
    if step.never_asked(cluster) and (outbid := _outbid(step, cluster)):
        return outbid
    if step.never_asked(cluster) and (cut := way_cut(step, cluster)):
        return _out_of_reach(step, cluster, cut)
    known = never_asked = step.never_asked(cluster)  # known: whether all that this launch may have made is
    try:
        cloud = step.driving.clouds[cluster.cloud]
        request = request_of(step, cluster, asked_before=not never_asked)
        step.driving.unasked.pop(cluster.token, None)
        known, asked_at = True, time.time()
        instances = cloud.launch(request)
    except NotConnected as error:
        return _out_of_hand(step, cluster, error, known=known)
    except (CapacityError, QuotaError, AuthError, InvalidRequest) as error:
        return _refused(step, cluster, error, known=known and error.settled)
    except (Throttled, UnknownOutcome) as error:
        return _unclear(step, cluster, error)
    launched, told = as_launched(cluster, instances, asked_at)
    seen = replace(observation(cluster, "launched"), login=login_of(cluster.cloud, step.driving.settings))
    changes: Changes = {"launch_errors": 0}
    changes |= {"leaving": True} if cluster is step.successor else {"waiting_since": time.time()}
    return step.comes_to(
        cluster=launched,
        observations=[] if any(one.queued for one in instances) else [seen],  # a queue takes what it has no room for
        events=[told],
        **changes,
    )


def _out_of_reach(step: Step, cluster: Cluster, cut: ProxyBroken) -> Outcome:
    """Launch nothing that could not be reached: come back a little later, or leave what lies behind that way."""
    if cut.lasting or time.time() - cluster.intended_at > WAY_PATIENCE_S:
        return _refused(step, cluster, no_way_in(step, cluster, cut), known=True)
    return wait_for_the_way(step, cluster, cut)[0]


def as_launched(cluster: Cluster, instances: Sequence[Instance], asked_at: float) -> tuple[Cluster, Launched]:
    """The record of an intent whose machines its cloud has given, and what is told of it."""
    if any(instance.paid_ahead for instance in instances):
        cluster = replace(cluster, reserved_until=None, price_after=None)
    launched = replace(
        cluster,
        state="launched",
        launched_at=time.time(),
        started_at=on_record([instance.launched_at for instance in instances], asked_at),
        instance_ids=tuple(dict.fromkeys(instance.id for instance in instances)),
    )
    told = Launched(
        attempt=cluster.attempt, instances=launched.instance_ids, armed=instances[0].armed, **where(cluster)
    )
    return launched, told


def _asked_for(step: Step, cluster: Cluster) -> Placement | None:
    """The placement that a cluster of the job is made for."""
    return step.memory.successor if cluster is step.successor else step.memory.placement


def _outbid(step: Step, cluster: Cluster) -> Outcome | None:
    """The launch held back, if another intent, written down just before this one, has used up a limit meanwhile."""
    placement = _asked_for(step, cluster)
    why = too_dear(step, placement, cluster) if placement else None
    if why is None:
        return None
    told = [Limit(why=why)]
    if cluster is step.successor:
        return step.comes_to(successor=None, held_back=why, events=told)
    return step.comes_to(closing="limit", verdict="failed", result={"exit_code": None, "error": why}, events=told)


def request_of(step: Step, cluster: Cluster, *, asked_before: bool) -> LaunchRequest:
    """What a cloud is asked for to have the cluster's machines. All of a gang present the same key."""
    task, identity = step.task, keys.identity(step.driving.settings, step.job.key_id)
    placement = _asked_for(step, cluster)
    assert placement is not None
    wanted = alternative(task.resources, placement)
    gang = cluster.token.partition(MEND)[0]
    return LaunchRequest(
        token=cluster.token,
        instance_type=cluster.instance_type,
        region=cluster.region,
        zone=cluster.zone,
        use_spot=cluster.use_spot,
        num_nodes=cluster.num_nodes,
        accelerator=placement.accelerator,
        accelerator_count=placement.accelerator_count,
        image=wanted.machine_image,
        disk_gib=wanted.disk_size,
        arch=placement.arch,
        ports=wanted.ports,
        host_key=identity.host_key(gang),
        authorized_key=public_key(identity.client_key),
        asked_before=asked_before,
        beside=gang if cluster.mends else "",
        queue_s=step.memory.queue_s if cluster is step.cluster and cluster.reservation is None else None,
        reservation=cluster.reservation,
        tags={**wanted.tags, TAG_OWNER: step.driving.store.id, TAG_CLUSTER: cluster.token, TAG_JOB: step.job.id},
        switch=switch(step.driving.settings, cluster.cloud, placement.hours),
    )


def _out_of_hand(step: Step, cluster: Cluster, error: NotConnected, *, known: bool) -> Outcome:
    """Leave a cloud that cannot be connected out of this job's plans. Others may have it: their drivers, their jobs."""
    told = Refused(attempt=cluster.attempt, why="not connected", message=str(error), **where(cluster))
    moves = cluster is step.successor
    return step.comes_to(
        state=None if moves else "provisioning",
        successor=None,
        cluster=replace(cluster, state="refused", ended_at=time.time(), outcome="not connected"),
        launches=[request_for(cluster, settled="not connected")] if known else (),
        tries=step.memory.tries.without(cluster.cloud, str(error)),
        events=[told],
    )


def _refused(step: Step, cluster: Cluster, error: CloudError, *, known: bool) -> Outcome:
    kind, seen = next(pair for kind_of, pair in REFUSALS.items() if isinstance(error, kind_of))
    scope: Scope = getattr(error, "scope", "zone")
    moves, own = cluster is step.successor, is_own(step, cluster, error)
    return step.comes_to(
        state=None if moves else "provisioning",
        successor=None,
        launches=[request_for(cluster, settled=kind)] if known else (),  # else it stays owed
        cluster=replace(cluster, state="refused", ended_at=time.time(), outcome=kind),
        launch_errors=0,
        observations=[] if own else _learned(step, cluster, error, seen, scope),
        tries=tries_without(step, cluster, error) if own else step.memory.tries,
        events=[Refused(attempt=cluster.attempt, why=kind, message=str(error), **where(cluster))],
    )


def _learned(step: Step, cluster: Cluster, error: CloudError, seen: Seen, scope: Scope) -> list[Observation]:
    """What a refusal teaches of this place, and of others if it speaks of them."""
    here = taught(step, cluster, error, seen, scope)
    others = error.elsewhere if isinstance(error, QuotaError) else ()
    return [here, *(replace(here, region=region, zone=None) for region in others if region != cluster.region)]


def taught(step: Step, cluster: Cluster, error: CloudError, seen: Seen, scope: Scope) -> Observation:
    """What a refusal teaches of its scope. What our login may not do says nothing of other hosts' logins."""
    ours = isinstance(error, AuthError) and not isinstance(error, NotSetUp)
    login = login_of(cluster.cloud, step.driving.settings) if ours else None
    queued = seen == "capacity" and cluster is step.cluster and step.memory.queue_s is not None
    hours = step.driving.settings.scale.hours(time.time() - cluster.intended_at) if queued else None
    return replace(observation(cluster, seen, scope, hours), login=login)


def is_own(step: Step, cluster: Cluster, error: CloudError) -> bool:
    """Whether a refusal is about what this job names, so that nothing can be concluded for others."""
    if error.own or not isinstance(error, InvalidRequest) or error.scope == "reservation":
        return error.own
    placement = _asked_for(step, cluster)
    return placement is not None and alternative(step.task.resources, placement).image is not None


def tries_without(step: Step, cluster: Cluster, error: CloudError) -> Tries:
    """The job's tries without the place where what it names cannot be had; a token is another one next time."""
    if not isinstance(error, InvalidRequest):
        return step.memory.tries
    region = None if error.scope in ("cloud", "type") else cluster.region
    zone = cluster.zone if error.scope == "zone" else None
    return step.memory.tries.without(cluster.cloud, str(error), region=region, zone=zone)


def _unclear(step: Step, cluster: Cluster, error: CloudError) -> Outcome:
    errors = step.memory.launch_errors + 1
    if errors > MAX_LAUNCH_ERRORS:
        seen = [observation(cluster, "unclear")]
        ending: Changes = {"launch_errors": 0}
        ending |= {"successor": None} if cluster is step.successor else {"closing": "unclear"}
        told = [GaveUp(message=str(error), **where(cluster))]
        return step.comes_to(observations=seen, events=told, **ending)
    wait = min(0.5 * 2**errors, 60.0)
    log.warning("%s: launch of %s: %s; again in %.1f s", step.job.id, cluster.token, error, wait)
    return step.comes_to(after_s=wait, launch_errors=errors, events=[LaunchUnclear(message=str(error))])


def request_for(cluster: Cluster, *, settled: str | None = None) -> Launch:
    """The launch of a cluster as the store keeps it: owed, or ``settled`` with a word on how."""
    return Launch(
        cluster.token, cluster.job_id, cluster.cloud, cluster.region, cluster.zone, asked_at=cluster.intended_at,
        settled_at=None if settled is None else time.time(), note=settled or "",
    )  # fmt: skip


def where(cluster: Cluster) -> Where:
    """The cluster's place, as events name it."""
    return {"cloud": cluster.cloud, "region": cluster.region, "zone": cluster.zone,
            "instance_type": cluster.instance_type, "use_spot": cluster.use_spot,
            "reserved": cluster.reservation is not None}  # fmt: skip


def observation(cluster: Cluster, kind: Seen, scope: Scope = "zone", hours: float | None = None) -> Observation:
    """What a cluster's launch or end teaches the tracker."""
    return Observation(
        at=time.time(), cloud=cluster.cloud, region=cluster.region, zone=cluster.zone,
        instance_type=cluster.instance_type, market=cluster.market,
        kind=kind, scope=scope, hours=hours, accelerator=cluster.accelerator, reservation=cluster.reservation,
        num_nodes=cluster.num_nodes,
    )  # fmt: skip
