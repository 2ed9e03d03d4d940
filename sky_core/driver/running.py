"""A job on its machines: waiting for them to boot, starting the agent, following it to its end or its eviction."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle

from sky_core.clouds.base import Instance
from sky_core.driver.launch import intend
from sky_core.driver.lead.berths import zone_key
from sky_core.driver.lead.pilot import decide, pilot_of
from sky_core.driver.lead.promise import checkpoint_hours, noted, too_slow, unsaved, warning
from sky_core.driver.step import Step
from sky_core.errors import CloudError, LinkLost, MachineError
from sky_core.facts import schemes
from sky_core.job.needs import kept_folder
from sky_core.planner.market import load_catalog
from sky_core.recovery import Decision
from sky_core.remote.artifacts import read_result
from sky_core.remote.executor import JobRequest, JobState
from sky_core.remote.keys import team_key
from sky_core.remote.ssh import Machine
from sky_core.spec import Artifact
from sky_core.store import Cluster, NewEvent, Run

LEAVE_GRACE_S = 10.0  # for a command to end by itself when its job moves
LINK_TIMEOUT_S = 180.0  # without an answer from a machine that its cloud calls running


def boot(step: Step) -> None:
    """Start the agent once all machines run and answer; give the cluster up if they do not."""
    cluster = step.cluster
    assert cluster is not None
    try:
        instances = step.driving.clouds[cluster.cloud].describe(cluster.instance_ids)
    except CloudError as error:
        _wait(step, step.driving.settings.boot_timeout_s, str(error))
        return
    if _taken_back(step, instances) or too_slow(step, cluster):
        return
    if not all(instance.state == "running" and instance.ip for instance in instances):
        _wait(step, step.driving.settings.boot_timeout_s, "the machines have not booted")
        return
    addresses = tuple(instance.ip for instance in instances if instance.ip)
    machines = _machines(step, cluster, addresses)
    if step.needs is None and (step.task.secrets or step.task.workdir):
        why = "an earlier version of Skyloom submitted it without its secrets and workdir: submit it again"
        step.save(closing="failed", verdict="failed", result={"exit_code": None, "error": why})
        return
    try:
        bucket = step.driving.clouds[cluster.cloud].storage(cluster.region).url
        step.driving.executor.start(machines, _request(step, cluster, instances, bucket))
    except (LinkLost, MachineError, CloudError) as error:
        _wait(step, step.driving.settings.boot_timeout_s, str(error))
        return
    step.save(
        state="running",
        bucket=bucket,
        addresses=addresses,
        checkpoint_urls=tuple(dict.fromkeys([*step.memory.checkpoint_urls, _checkpoint_url(step, bucket)])),
        started=True,
        waiting_since=None,
        phase="",
        events=[("started", {"attempt": cluster.attempt, "ips": addresses})],
    )


def poll(step: Step) -> None:
    """One look at the agent: keep its log, notice its phases, its end, an eviction or a silent machine."""
    cluster, memory = step.cluster, step.memory
    assert cluster is not None
    try:
        # The cloud is asked only when the machine does not answer: a look costs one SSH round trip, no API call.
        cloud = step.driving.clouds[cluster.cloud]
        if memory.waiting_since and _taken_back(step, cloud.describe(cluster.instance_ids)):
            return
        machines = _machines(step, cluster, memory.addresses)
        if memory.leaving:
            step.driving.executor.leave(machines, step.job.id, cluster.attempt, LEAVE_GRACE_S)
        state = step.driving.executor.poll(machines, step.job.id, cluster.attempt, memory.log_offset)
    except (LinkLost, MachineError, CloudError) as error:
        _wait(step, LINK_TIMEOUT_S, str(error))
        return
    if state.phase == "missing":
        step.save(started=False, waiting_since=time.time())
        return
    _keep(step, cluster, state)


def _keep(step: Step, cluster: Cluster, state: JobState) -> None:
    memory = step.memory
    changes: dict[str, Any] = {"waiting_since": None, "phase": state.phase, "log_offset": state.log_offset}
    events: list[NewEvent] = []
    if state.phase != memory.phase:
        events.append(("phase", {"phase": state.phase, "attempt": cluster.attempt}))
    if state.phase in ("running", "outputs", "done") and not memory.accounted:
        changes |= {"accounted": True, "running_since": time.time()}
        events += _transfers(step, cluster, state)
    if state.eviction and not memory.evicted:
        changes["evicted"] = True
        events.append(("eviction notice", {"attempt": cluster.attempt}))
    if state.phase == "lost":
        changes["closing"] = "lost"
        events.append(("lost", {"attempt": cluster.attempt, "detail": state.detail}))
    if state.phase == "done":
        changes |= _ending(step, cluster, state, events)
    log = (memory.log_base + memory.log_offset, state.log)
    busy = bool(state.log) or bool(events)
    changes |= noted(step, cluster, state)
    step.save(after_s=step.driving.settings.poll_s * (0.5 if busy else 1.0), events=events, log=log, **changes)
    if state.phase == "running" and step.memory.closing is None:
        _steer(step, cluster)
    elif state.phase in ("inputs", "setup"):
        too_slow(step, cluster)


def _steer(step: Step, cluster: Cluster) -> None:
    """Ask the policy of a job with a deadline where it should be, and begin to move if that is not where it is."""
    promise = step.memory.promise
    if promise is None or step.memory.leaving or step.successor is not None:
        return
    pilot = pilot_of(step, promise)
    if pilot is None:
        return
    decision = decide(step, pilot, promise, cluster)
    here = Decision("spot" if cluster.use_spot else "on_demand", zone_key(cluster))
    if decision == here or (decision.state, decision.zone) == ("on_demand", None):
        danger = warning(step, promise, cluster)
        if danger:
            step.save(promise=promise.model_copy(update={"warned": True}), events=danger)
        return
    placement = pilot.placement(decision)
    if placement is None:
        step.save(leaving=True, events=[("leaving", {"attempt": cluster.attempt})])
        return
    if late := unsaved(step, promise):
        step.save(events=[("unsaved", {"attempt": cluster.attempt, "hours": late})])
    intend(step, placement)


def _ending(step: Step, cluster: Cluster, state: JobState, events: list[NewEvent]) -> dict[str, Any]:
    """What follows from the agent's end: success, the user's failure, or a spot machine's last checkpoint."""
    if state.exit_code != 0 and (state.eviction or step.memory.evicted):
        events.append(("preempted", {"attempt": cluster.attempt, "checkpoint": state.checkpoint_generation}))
        return {"closing": "preempted"}
    if state.exit_code != 0 and step.memory.leaving:
        events.append(("left", {"attempt": cluster.attempt, "checkpoint": state.checkpoint_generation}))
        return {"closing": "moved"}
    if state.exit_code != 0:
        told = {"exit_code": state.exit_code, "error": state.detail or f"exit code {state.exit_code}"}
        return {"closing": "failed", "verdict": "failed", "result": told}
    scale = step.driving.settings.scale
    moved: Mapping[str, int] = state.moved.get("outputs", {})
    outputs = {
        name: {
            "uri": url,
            "location": f"{cluster.cloud}/{cluster.region}",
            "size_gb": scale.gb(moved.get(name, 0)),
        }
        for name, url in _output_urls(step, step.memory.bucket).items()
    }
    runs = _run(step, cluster)
    value = {}
    if step.task.function is not None:
        found = read_result(str(outputs["result"]["uri"]), _storage_options(step, cluster))
        value = {"value": step.driving.store.put_payload(cloudpickle.dumps(found))}
    result = {"exit_code": 0, "outputs": outputs} | value
    return {"closing": "succeeded", "verdict": "succeeded", "result": result, "runs": runs}


def _run(step: Step, cluster: Cluster) -> list[Run]:
    """What the estimates learn from a job that has succeeded, if anything."""
    placement, since = step.memory.placement, step.memory.running_since
    if placement is None or since is None or step.memory.log_base:
        return []  # a resumed attempt did part of the work only: its time would mislead the estimates
    inputs = [source.size_gb or 0.0 for source in step.task.inputs.values() if isinstance(source, Artifact)]
    _, pipeline, _ = step.planned()
    return [
        Run(
            at=time.time(), pipeline=pipeline.name, task=step.task.name, cloud=cluster.cloud,
            region=cluster.region, instance_type=cluster.instance_type, accelerator=placement.accelerator,
            accelerator_count=placement.accelerator_count, use_spot=cluster.use_spot,
            hours=step.driving.settings.scale.hours(time.time() - since), input_gb=sum(inputs),
        )
    ]  # fmt: skip


def _transfers(step: Step, cluster: Cluster, state: JobState) -> list[NewEvent]:
    """One event for each input that was moved here, with what its egress costs at the catalog's prices."""
    events: list[NewEvent] = []
    catalog, scale = load_catalog(step.driving.settings.home), step.driving.settings.scale
    here = (cluster.cloud, cluster.region, cluster.zone)
    for name, size in state.moved.get("inputs", {}).items():
        source = step.task.inputs.get(name)
        location = source.location if isinstance(source, Artifact) else None
        if location is None:
            continue
        cloud, _, region = location.partition("/")
        gb = scale.gb(size)
        usd = float(catalog.egress([(cloud, region, None), here], gb)[0][0, 1])
        about = {"input": name, "bytes": size, "gb": gb, "usd": usd, "from": location, "to": f"{here[0]}/{here[1]}"}
        events.append(("moved", about))
    if state.restored_generation is not None:
        usd, kept = 0.0, step.memory.checkpoint
        if kept is not None:
            cloud, _, region = kept.location.partition("/")
            usd = float(catalog.egress([(cloud, region, None), here], scale.gb(state.restored_bytes))[0][0, 1])
        restored = {"generation": state.restored_generation, "bytes": state.restored_bytes, "usd": usd}
        events.append(("restored", {"attempt": cluster.attempt, **restored}))
    return events


def _taken_back(step: Step, instances: list[Instance]) -> bool:
    """Whether a machine of the gang is gone; if so the rest is closed and the job tried elsewhere."""
    gone = [instance for instance in instances if instance.state in ("stopping", "gone")]
    if not gone and instances:
        return False
    reason = gone[0].reason if gone else "unknown to its cloud"
    preempted = step.cluster is not None and step.cluster.use_spot
    kind = "preempted" if preempted else "died"
    attempt = step.cluster.attempt if step.cluster else step.job.attempt
    step.save(closing=kind, events=[(kind, {"attempt": attempt, "reason": reason})])
    return True


def _wait(step: Step, limit_s: float, why: str) -> None:
    """Come back a little later, or give the machines up after ``limit_s`` seconds of this."""
    since = step.memory.waiting_since or time.time()
    if time.time() - since > limit_s:
        attempt = step.cluster.attempt if step.cluster else step.job.attempt
        about = {"attempt": attempt, "why": why, "seconds": time.time() - since}
        step.save(closing="unreachable", events=[("unreachable", about)])
        return
    step.save(after_s=min(step.driving.settings.poll_s, 2.0), waiting_since=since)


def _machines(step: Step, cluster: Cluster, addresses: Sequence[str]) -> list[Machine]:
    config = step.driving.settings.clouds[cluster.cloud]
    return [Machine(ip, config.ssh_port, config.ssh_user, cluster.host_key) for ip in addresses]


def _output_urls(step: Step, bucket: str) -> dict[str, str]:
    """Where each output is published: a folder of this attempt's own, so that no two attempts can mix."""
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", step.job.plan_key)
    folder = f"{bucket}/runs/{run}/{step.job.task}/{step.job.id}-{step.job.attempt}"
    return {name: given.uri or f"{folder}/{name}" for name, given in step.task.outputs.items()}


def _checkpoint_url(step: Step, bucket: str) -> str:
    return f"{bucket}/checkpoints/{step.job.id}"


def _storage_options(step: Step, cluster: Cluster) -> dict[str, dict[str, Any]]:
    """fsspec options by protocol, for the machine's own cloud and those its inputs come from."""
    given = [source.uri for source in step.task.inputs.values() if isinstance(source, Artifact) and source.uri]
    owners = schemes()
    given_schemes = [url.partition("://")[0] for url in (*given, *step.memory.checkpoint_urls)]
    clouds = {cluster.cloud} | {owners[scheme].name for scheme in given_schemes if scheme in owners}
    options = {cloud: dict(step.driving.clouds[cloud].storage_options()) for cloud in sorted(clouds)}
    return {scheme: options[cloud] for scheme, owner in owners.items() if (cloud := owner.name) in options}


def _request(step: Step, cluster: Cluster, instances: list[Instance], bucket: str) -> JobRequest:
    task, needs, settings, store = step.task, step.needs, step.driving.settings, step.driving.store
    checkpoint, interval = task.checkpoint, checkpoint_hours(step, cluster, promised=step.memory.promise is not None)
    return JobRequest(
        job_id=step.job.id,
        attempt=cluster.attempt,
        cloud=cluster.cloud,
        run=task.run,
        payload=store.payload(task.function) if task.function else None,
        setup=task.setup,
        workdir=kept_folder(store, needs.workdir) if needs and needs.workdir else None,
        envs=dict(task.envs),
        secrets=team_key(settings).unseal(needs.sealed, step.job.id) if needs and needs.sealed else {},
        inputs={name: source.uri or "" for name, source in task.inputs.items() if isinstance(source, Artifact)},
        outputs=_output_urls(step, bucket),
        checkpoint_url=_checkpoint_url(step, bucket) if checkpoint else None,
        restore_urls=step.memory.checkpoint_urls if checkpoint else (),
        checkpoint_interval_s=None if interval is None else settings.scale.seconds(interval),
        checkpoint_keep=checkpoint.keep if checkpoint else 1,
        storage_options=_storage_options(step, cluster),
        orphan_ttl_s=settings.orphan_ttl_s,
        publish_patience_s=settings.publish_patience_s,
        node_ips=tuple(instance.private_ip or instance.ip or "" for instance in instances),
    )
