"""A job on its machines: waiting for them to boot, starting the agent, following it to its end or its eviction."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sky_core.catalog.names import tool
from sky_core.clouds.base import Instance
from sky_core.driver.gangs import fleet, mending
from sky_core.driver.lead.berths import zone_key
from sky_core.driver.lead.pilot import decide, pilot_of, thoughts
from sky_core.driver.lead.promise import checkpoint_hours, noted, too_slow, unsaved, warning
from sky_core.driver.lead.queueing import in_queue, refusal
from sky_core.driver.stages.ending import ended, transfers
from sky_core.driver.stages.launch import REFUSALS, intend, is_own, taught, tries_without, where
from sky_core.driver.stages.lending import lend, make_buckets, renew
from sky_core.driver.stages.reaching import (
    LONGEST_PAUSE_S,
    addresses_of,
    ask_others,
    end_on_record,
    let_in,
    look,
    machines_at,
    no_address,
    no_way_in,
    wait_for_the_way,
    way_cut,
    way_stands,
    while_pending,
)
from sky_core.driver.step import Step
from sky_core.driver.urls import checkpoint_url, mounts, output_urls, verdict_url
from sky_core.errors import (
    AuthError,
    CloudError,
    HostKeyMismatch,
    InvalidRequest,
    LinkLost,
    MachineError,
    PartlySilent,
)
from sky_core.events import (
    BucketRefused,
    Died,
    EvictionNotice,
    Happening,
    LaunchFailed,
    Leaving,
    Lost,
    NetworkBack,
    NetworkOut,
    NotReady,
    Phase,
    Preempted,
    Started,
    Unreachable,
    Unsaved,
)
from sky_core.facts import facts_of
from sky_core.facts.managed import is_managed
from sky_core.job.memory import Changes
from sky_core.job.needs import kept_folder
from sky_core.job.outcome import Outcome
from sky_core.planner.alternatives import alternative
from sky_core.recovery import Decision
from sky_core.remote.answers import JobState
from sky_core.remote.executor import LONG_LOOK_S, LOOK_S, JobRequest
from sky_core.remote.keys import identity, team_key
from sky_core.spec import Artifact, Resources, Task
from sky_core.store import Cluster

log = logging.getLogger(__name__)

SOON_S = 0.2  # until the next look, when machines of a gang have just come up: the others do within moments
LEAVE_GRACE_S = 10.0  # for a command to end by itself when its job moves
LINK_TIMEOUT_S = 180.0  # without an answer from a machine that its cloud calls running
CLOCKS_S = 60.0  # what a cloud's clock may be behind this machine's
TOLD_AFTER = 4  # looks in vain the driver's log says what for
# A stranger that answers under the machine's address is told nothing; what has become of ours, its cloud knows.
NO_ANSWER = (LinkLost, HostKeyMismatch, MachineError, CloudError)


def boot(step: Step) -> Outcome:
    """Start the agent once all machines run and answer; give the cluster up if they do not."""
    cluster = step.cluster
    assert cluster is not None
    try:
        instances = look(step, cluster)
    except CloudError as error:
        return _wait(step, cluster, step.driving.settings.boot_timeout_s, str(error))
    if failure := refusal(step, cluster, instances):
        return _refused_there(step, cluster, failure, LaunchFailed)
    if outcome := _taken_back(step, instances) or too_slow(step, cluster) or in_queue(step, cluster, instances):
        return outcome
    if unset := no_address(step, cluster, instances):
        return _refused_there(step, cluster, unset, LaunchFailed)
    addresses = addresses_of(step, cluster, instances)
    booted = sum(instance.state == "running" for instance in instances)
    if booted < len(instances) or len(addresses) < len(instances):
        noted = step.comes_to(cluster=while_pending(step, cluster, instances), booted=booted)
        limit_s = step.driving.settings.boot_timeout_s
        waits = noted.then(_wait(step.after(noted), cluster, limit_s, "the machines have not booted"))
        return replace(waits, after_s=min(waits.after_s, SOON_S)) if booted > step.memory.booted else waits
    machines = machines_at(step, cluster, addresses)
    if step.needs is None and (step.task.secrets or step.task.workdir):
        why = "an earlier version of Skyloom submitted it without its secrets and workdir: submit it again"
        return step.comes_to(closing="failed", verdict="failed", result={"exit_code": None, "error": why})
    try:
        bucket = step.driving.clouds[cluster.cloud].storage(cluster.region).url
        make_buckets(step, cluster)
        ips = [instance.private_ip or instance.ip or "" for instance in instances]
        step.driving.executors[cluster.cloud].start(machines, _request(step, cluster, ips, bucket))
    except (AuthError, InvalidRequest) as error:
        return _refused_there(step, cluster, error, BucketRefused)
    except NO_ANSWER as error:
        let_in(step, cluster)
        if (cut := way_cut(step, cluster, error)) is None:
            limit_s, unfit = step.driving.settings.boot_timeout_s, isinstance(error, MachineError)
            return _wait(step, cluster, limit_s, str(error), unfit=unfit)
        waits, is_lasting = wait_for_the_way(step, cluster, cut)
        return _refused_there(step, cluster, no_way_in(step, cluster, cut), LaunchFailed) if is_lasting else waits
    step.driving.hearing.answered(step.job.id)
    way_stands(step)
    return step.comes_to(
        state="running",
        bucket=bucket,
        addresses=addresses,
        checkpoint_urls=tuple(dict.fromkeys([*step.memory.checkpoint_urls, checkpoint_url(step, bucket)])),
        started=True,
        waiting_since=None,
        phase="",
        events=[Started(attempt=cluster.attempt, ips=addresses)],
    )


def poll(step: Step) -> Outcome:
    """One look at the agent: keep its log, notice its phases, its end, an eviction or a silent machine."""
    cluster, memory = step.cluster, step.memory
    assert cluster is not None
    addresses = memory.addresses
    try:
        # The cloud is asked only when the machine does not answer: a look costs one SSH round trip, no API call.
        if memory.waiting_since and facts_of(cluster.cloud).own:
            ask_others(step, cluster)
        elif memory.waiting_since:
            instances = mending.seen(step, cluster)
            if given_up := mending.lose(step, cluster, instances) or _taken_back(step, instances):
                return given_up
            if not memory.members:
                addresses = addresses_of(step, cluster, instances) or addresses
        machines, executor = machines_at(step, cluster, addresses), step.driving.executors[cluster.cloud]
        renew(step, cluster, machines)
        if memory.leaving:
            executor.leave(machines, step.job.id, cluster.attempt, LEAVE_GRACE_S)
        look_s = LONG_LOOK_S if memory.waiting_since else LOOK_S
        state = executor.poll(machines, step.job.id, cluster.attempt, memory.kept_logs, look_s)
    except NO_ANSWER as error:
        let_in(step, cluster)
        if cut := way_cut(step, cluster, error):
            return wait_for_the_way(step, cluster, cut)[0]
        if isinstance(error, PartlySilent):
            step.driving.hearing.heard()
        return _wait(step, cluster, LINK_TIMEOUT_S, str(error), error.ranks if isinstance(error, PartlySilent) else ())
    if state.phase == "missing" and not memory.members:
        return step.comes_to(started=False, waiting_since=time.time())
    return _heard(step, cluster, addresses, state)


def _heard(step: Step, cluster: Cluster, addresses: tuple[str, ...], state: JobState) -> Outcome:
    """What a look at the agent has told. An end counts once the log before it has come, to its last byte."""
    memory, poll_s = step.memory, step.driving.settings.poll_s
    silence = step.driving.hearing.answered(step.job.id)
    out = silence is not None and (silence.was_out or not silence.alone)
    back = [NetworkBack()] if way_stands(step) or out else []
    told = step.comes_to(
        log=(memory.log_base + memory.log_offset, state.log), log_offset=memory.log_offset + len(state.log),
        log_offsets=state.offsets, heard_at=step.driving.store.now(), waiting_since=None, addresses=addresses,
        events=back,
    )  # fmt: skip
    if state.over and not state.log_is_whole:
        return told
    ended_early = [state.lost_rank] if state.phase == "lost" and state.lost_rank is not None else []
    if given_up := mending.dismissed(step.after(told), cluster, ended_early):
        return told.then(given_up)
    told = told.then(_noticed(step.after(told), cluster, state))
    if state.phase == "done" and state.unfit and not (state.eviction or memory.evicted):
        cure = "choose an image with its driver, or leave image out"
        unfit = InvalidRequest(f"{cluster.accelerator}: {state.unfit}", scope="type", cure=cure)
        told = told.then(_refused_there(step.after(told), cluster, unfit, LaunchFailed))
    elif state.phase == "done":
        told = told.then(ended(step.after(told), cluster, state))
    now = step.after(told)
    told = replace(told, after_s=poll_s * (0.5 if state.log or told.events else 1.0))
    if state.phase == "running" and now.memory.closing is None:
        told = told.then(mending.joined(now, cluster, lambda ips: _request(now, cluster, ips, memory.bucket)))
        return told.then(_steered(step.after(told), cluster))
    return told.then(too_slow(now, cluster)) if state.phase in ("inputs", "setup") else told


def _noticed(step: Step, cluster: Cluster, state: JobState) -> Outcome:
    """What is new about the attempt: its phase, what was moved for it, an eviction, its newest checkpoint."""
    memory, events = step.memory, list[Happening]()
    changes: Changes = {"phase": state.phase, **noted(step, cluster, state), **fleet.noted(step, state)}
    if state.phase != memory.phase:
        events.append(Phase(attempt=cluster.attempt, phase=state.phase))
    if state.phase in ("running", "outputs", "done") and not memory.accounted:
        changes |= {"accounted": True, "running_since": time.time()}
        events += transfers(step, cluster, state)
    if state.eviction and not memory.evicted:
        changes["evicted"] = True
        events.append(EvictionNotice(attempt=cluster.attempt))
    if state.phase in ("lost", "missing"):
        changes["closing"] = "lost"
        events.append(Lost(attempt=cluster.attempt, detail=state.detail))
    return step.comes_to(events=events, **changes)


def _steered(step: Step, cluster: Cluster) -> Outcome | None:
    """Where the job's policy wants it, if that is not where it is; the beginning of the move."""
    promise, poll_s = step.memory.promise, step.driving.settings.poll_s
    if promise is None or step.memory.leaving or step.successor is not None:
        return None
    pilot = pilot_of(step, promise)
    if pilot is None:
        return None
    decision = decide(step, pilot, promise, cluster)
    here = Decision("spot" if cluster.use_spot else "on_demand", zone_key(cluster))
    if decision == here or (decision.state, decision.zone) == ("on_demand", None):
        danger = warning(step, promise, cluster)
        warned = promise.model_copy(update={"warned": True})
        return step.comes_to(after_s=poll_s, promise=warned, events=danger) if danger else None
    placement = pilot.placement(decision)
    if placement is None:
        return step.comes_to(leaving=True, events=[Leaving(attempt=cluster.attempt), *thoughts(pilot)])
    late = unsaved(step, promise)
    why = [Unsaved(attempt=cluster.attempt, hours=late)] if late else []
    told = step.comes_to(events=[*why, *thoughts(pilot)])
    return told.then(intend(step.after(told), placement))


def _taken_back(step: Step, instances: list[Instance]) -> Outcome | None:
    """The end of an attempt of whose gang a machine is gone: the rest is closed and the job tried elsewhere."""
    gone = [instance for instance in instances if instance.state in ("stopping", "gone")]
    if not gone and instances:
        return None
    reason = gone[0].reason if gone else "unknown to its cloud"
    # A machine that halted itself, when nobody looked after it, or failed, says nothing of its zone; nor does one on
    # demand.
    preempted = step.cluster is not None and step.cluster.use_spot and not any(i.broke for i in gone)
    attempt = step.cluster.attempt if step.cluster else step.job.attempt
    step.driving.hearing.forget(step.job.id)
    died = step.cluster and _as_stopped(step, step.cluster, gone)
    event = Preempted(attempt=attempt, reason=reason) if preempted else Died(attempt=attempt, reason=reason)
    return step.comes_to(closing=event.kind, cluster=died, events=[event])


def _as_stopped(step: Step, cluster: Cluster, gone: Sequence[Instance]) -> Cluster:
    """The cluster with the time of its end, if all of it is gone.

    Where the cloud keeps no record, its agents cannot have kept it for longer than they had promised.
    """
    if len(gone) < len(cluster.instance_ids):
        return cluster
    memory, orphan_ttl_s = step.memory, step.driving.settings.orphan_ttl_s
    stopped_at = end_on_record(gone, cluster.intended_at)
    # A record of an end long before the machine was last heard is of something else, such as its making.
    if stopped_at is not None and stopped_at > (memory.heard_at or 0.0) - CLOCKS_S:
        return replace(cluster, stopped_at=stopped_at)
    if memory.heard_at is None:
        return cluster
    promised = (memory.running_since or memory.heard_at) + _promised_s(step) if memory.phase != "done" else 0.0
    return replace(cluster, stopped_at=min(step.driving.store.now(), max(memory.heard_at + orphan_ttl_s, promised)))


def _wait(
    step: Step, cluster: Cluster, limit_s: float, why: str, silent: Sequence[int] = (), unfit: bool = False
) -> Outcome:
    """Come back a little later, ever later, or give the machines up after ``limit_s`` seconds of this: those ranks of a
    gang that goes on without them, else all.

    Time in which nothing else answers either does not count: that is our own network, and machines work on without us.
    What machines that answer and are ``unfit`` lack is told.
    """
    silence = step.driving.hearing.unanswered(step.job.id)
    since = step.memory.waiting_since or time.time()
    if silence.seconds > limit_s:
        step.driving.hearing.forget(step.job.id)
        if given_up := mending.dismissed(step, cluster, silent):
            return given_up
        event = Unreachable(attempt=cluster.attempt, why=why, seconds=silence.seconds)
        return step.comes_to(closing="unreachable", events=[event])
    told: list[Happening] = [] if silence.alone or silence.was_out else [NetworkOut(why=why)]
    if silence.looks == TOLD_AFTER:
        log.info("%s: attempt %d is waited for: %s", step.job.id, cluster.attempt, why)
        told += [NotReady(attempt=cluster.attempt, why=why)] if unfit else []
    pause = min(step.driving.settings.poll_s, 2.0) * 2 ** min(silence.looks - 1, 10)
    return step.comes_to(
        after_s=min(pause, LONGEST_PAUSE_S) if step.memory.started else min(pause, 2.0),
        waiting_since=since,
        events=told,
    )


def _refused_there(
    step: Step, cluster: Cluster, error: CloudError, refusal: type[LaunchFailed | BucketRefused]
) -> Outcome:
    """Leave at once a place whose machines failed after all, or whose bucket is not ours; it counts as refused.

    Where that is due to what the job itself names, such as its image, it is told to this job only.
    """
    kind, seen = next(pair for kind_of, pair in REFUSALS.items() if isinstance(error, kind_of))
    seen_there = taught(step, cluster, error, seen, getattr(error, "scope", "region"))
    step.driving.hearing.forget(step.job.id)
    event = refusal(attempt=cluster.attempt, why=kind, message=str(error), **where(cluster))
    if is_own(step, cluster, error):
        return step.comes_to(closing=kind, tries=tries_without(step, cluster, error), events=[event])
    return step.comes_to(closing=kind, observations=[seen_there], events=[event])


def _wanted(step: Step) -> Resources:
    """What the job asked for where it is now."""
    placement = step.memory.placement
    return alternative(step.task.resources, placement) if placement else step.task.resources


def _accelerator_tool(step: Step) -> str:
    """What proves the accelerators; nothing where they came with a machine that was chosen for something else."""
    placement = step.memory.placement
    if placement is None or placement.accelerator is None or not _wanted(step).accelerators:
        return ""
    return tool(placement.accelerator)


def _promised_s(step: Step) -> float:
    """Seconds for which the command may go on with nobody looking: until its deadline, else what it was planned for."""
    memory, scale = step.memory, step.driving.settings.scale
    if memory.promise is not None and memory.promise.firm:
        return max(0.0, memory.promise.due - time.time())
    return scale.seconds(memory.placement.hours_at_most) if memory.placement else 0.0


def _gang_key(step: Step, cluster: Cluster) -> str:
    """The same each time that the attempt is started, and known to nobody but the team and the gang."""
    return identity(step.driving.settings, step.job.key_id).host_key(f"{cluster.token} gang")


def _engine(task: Task, cluster: Cluster) -> Mapping[str, object]:
    """The engine to be started, as the agents read it; none where a service's cluster has it."""
    elastic = {"elastic": task.elastic.model_dump(mode="json")} if task.elastic else {}
    started = task.engine is not None and not is_managed(cluster.instance_type)
    return {**task.engine.model_dump(mode="json"), **elastic} if task.engine and started else {}


def _request(step: Step, cluster: Cluster, ips: Sequence[str], bucket: str) -> JobRequest:
    task, needs, settings, store = step.task, step.needs, step.driving.settings, step.driving.store
    checkpoint, promise = task.checkpoint, step.memory.promise
    interval = checkpoint_hours(step, cluster, firm=promise is not None and promise.firm)
    return JobRequest(
        job_id=step.job.id,
        attempt=cluster.attempt,
        cloud=cluster.cloud,
        halts=not facts_of(cluster.cloud).own,
        run=task.run,
        container=_wanted(step).container,
        payload=store.payload(task.function) if task.function else None,
        setup=task.setup,
        workdir=kept_folder(store, needs.workdir) if needs and needs.workdir else None,
        files=kept_folder(store, needs.files) if needs and needs.files else None,
        environment=kept_folder(store, needs.environment) if needs and needs.environment else None,
        minor=needs.python if needs else "",
        mounts=mounts(step),
        envs=dict(task.envs),
        secrets=team_key(settings).unseal(needs.sealed, step.job.id) if needs and needs.sealed else {},
        inputs={name: source.uri or "" for name, source in task.inputs.items() if isinstance(source, Artifact)},
        outputs=output_urls(step, cluster, bucket),
        verdict_url=verdict_url(step, cluster, bucket),
        checkpoint_url=checkpoint_url(step, bucket) if checkpoint else None,
        restore_urls=step.memory.checkpoint_urls if checkpoint else (),
        checkpoint_interval_s=None if interval is None else settings.scale.seconds(interval),
        checkpoint_keep=checkpoint.keep if checkpoint else 1,
        storage_options=lend(step, cluster, bucket),
        orphan_ttl_s=settings.orphan_ttl_s,
        promised_s=_promised_s(step),
        publish_patience_s=settings.publish_patience_s,
        node_ips=tuple(ips),
        engine=_engine(task, cluster),
        gang_key=_gang_key(step, cluster) if len(ips) > 1 else "",
        restarts=task.restarts,
        restart_on=task.restart_on,
        gpus_per_node=math.ceil(step.memory.placement.accelerator_count) if step.memory.placement else 0,
        accelerator_tool=_accelerator_tool(step),
        accelerator_patience_s=settings.accelerator_timeout_s,
        place={"cloud": cluster.cloud, "region": cluster.region, "zone": cluster.zone or ""},
    )
