"""What follows from the end of an attempt, told by its agent or by what it left in its bucket."""

from __future__ import annotations

import time
from collections.abc import Mapping

from sky_core.driver.step import Step
from sky_core.driver.urls import location_of, output_urls, storage_options, verdict_url
from sky_core.errors import CloudError, MachineError, TooLarge, TransferError
from sky_core.events import BucketNotAsked, FoundEnded, Happening, Left, Moved, Preempted, Restored, VerdictUnreadable
from sky_core.job.outcome import Outcome
from sky_core.planner.market import load_catalog
from sky_core.remote.answers import JobState, verdict
from sky_core.remote.artifacts import read_object, read_result
from sky_core.remote.executor import verdict_of
from sky_core.remote.functions import RESULT
from sky_core.remote.gangs.together import together
from sky_core.spec.engine import SPREAD
from sky_core.store import Cluster, Result, Run
from sky_core.store.results import Produced

ASK_S = 120.0  # a bucket that does not answer for so long, while others do, is not waited for before a relaunch


def ended(step: Step, cluster: Cluster, state: JobState) -> Outcome | None:
    """Success, the user's failure, or a spot machine's last checkpoint.

    None if the bucket does not give out a function's value just now.
    """
    attempt, kept = cluster.attempt, state.checkpoint_generation
    if state.exit_code != 0 and (state.eviction or step.memory.evicted):
        return step.comes_to(closing="preempted", events=[Preempted(attempt=attempt, checkpoint=kept)])
    if state.exit_code != 0 and step.memory.leaving:
        return step.comes_to(closing="moved", events=[Left(attempt=attempt, checkpoint=kept)])
    value = _value(step, cluster, state)
    if value is None:
        return None
    if state.exit_code != 0:
        error = state.detail or f"exit code {state.exit_code}"
        failed: Result = {"exit_code": state.exit_code, "error": error, **value}
        return step.comes_to(closing="failed", verdict="failed", result=failed)
    result: Result = {"exit_code": 0, "outputs": _outputs(step, cluster, state), **value}
    return step.comes_to(closing="succeeded", verdict="succeeded", result=result, runs=_run(step, cluster, state))


def found_in_bucket(step: Step) -> Outcome | list[Happening]:
    """Ask the bucket how the attempt that is being closed has ended, before another one is made.

    Returns:
        The verdict, or that the bucket has to be asked again; else what is to be told of the asking.
    """
    cluster = step.cluster or next((c for c in _closed(step) if c.state == "ended"), None)
    if not (step.memory.started and step.memory.bucket and cluster):
        return []
    name = f"{cluster.token} verdict"
    try:
        found = _found(step, cluster, step.memory.bucket)
    except MachineError as error:
        return [VerdictUnreadable(error=str(error))]
    except (TransferError, CloudError) as error:
        silence = step.driving.hearing.unanswered(name)
        if silence.seconds < ASK_S:
            return step.comes_to(after_s=step.driving.settings.poll_s)
        return [BucketNotAsked(error=str(error))]
    step.driving.hearing.answered(name)
    return [] if found is None or found.memory.verdict is None else found


def _found(step: Step, cluster: Cluster, bucket: str) -> Outcome | None:
    """The end that the attempt has left in its bucket, with the rest of its log; None if it has left none.

    Raises:
        MachineError: if what is there cannot be read.
        TransferError, CloudError: if the bucket does not answer.
    """
    state = _left(step, cluster, verdict_url(step, cluster, bucket))
    if state is None:
        return None
    told = FoundEnded(attempt=cluster.attempt, exit_code=state.exit_code)
    heard = step.comes_to(
        events=[told, *([] if step.memory.accounted else transfers(step, cluster, state))],
        log=(step.memory.log_base + step.memory.log_offset, state.log),
        accounted=True,
        log_offset=step.memory.log_offset + len(state.log),
        log_offsets=state.offsets,
    )
    end = ended(step.after(heard), cluster, state)
    if end is None:
        raise TransferError("the function's value cannot be read")
    return heard.then(end)


def _left(step: Step, cluster: Cluster, url: str) -> JobState | None:
    """What all ranks have left; None if one of them has left nothing.

    That one may have gone with its machine, and the others' failures may follow from it: none of them is the gang's.
    """
    options, kept = storage_options(step, cluster), step.memory.kept_logs
    answers = []
    alone = step.task.engine is not None and step.task.engine.name not in SPREAD
    ranks = step.task.num_nodes if step.task.elastic else max(1, len(step.memory.addresses))
    for rank in range(1 if alone else ranks):
        content = read_object(verdict_of(url, rank), options)
        if content is None:
            return None
        answers.append(verdict(content, kept[rank] if rank < len(kept) else 0))
    state = together(answers)
    return state if state.phase == "done" else None


def _closed(step: Step) -> list[Cluster]:
    """The job's clusters, the newest first."""
    return step.driving.store.clusters(job_id=step.job.id)[::-1]


def _outputs(step: Step, cluster: Cluster, state: JobState) -> dict[str, Produced]:
    scale = step.driving.settings.scale
    moved: Mapping[str, int] = state.moved.get("outputs", {})
    here = location_of(step, cluster)
    urls = output_urls(step, cluster, step.memory.bucket)
    return {name: {"uri": url, "location": here, "size_gb": scale.gb(moved.get(name, 0))} for name, url in urls.items()}


def _value(step: Step, cluster: Cluster, state: JobState) -> Result | None:
    """The bytes of a function's value or error, kept in the store for whoever asks; None to try again.

    They are not looked into: what a machine wrote is unpickled by the process that wants it, not by this one, which
    holds the credentials of every cloud.
    """
    if step.task.function is None or RESULT not in state.moved.get("outputs", {}):
        return {}
    name = f"{cluster.token} value"
    url = output_urls(step, cluster, step.memory.bucket)[RESULT]
    try:
        content = read_result(url, storage_options(step, cluster))
    except TooLarge as error:
        return {"value_error": str(error)}
    except (TransferError, CloudError) as error:
        silence = step.driving.hearing.unanswered(name)
        if silence.looks == 1 or silence.seconds < step.driving.settings.publish_patience_s:
            return None
        return {"value_error": str(error)}  # it did succeed, and the value may still be read from the bucket
    step.driving.hearing.answered(name)
    return {"value": step.driving.store.put_payload(content)}


def _run(step: Step, cluster: Cluster, state: JobState) -> list[Run]:
    """What the estimates learn from a job that has succeeded, if anything."""
    placement = step.memory.placement
    if placement is None or step.memory.log_base:
        return []  # a resumed attempt did part of the work only: its time would mislead the estimates
    inputs = [source.size_gb or 0.0 for source in step.task.given.values()]
    _, pipeline, _ = step.planned()
    took_s = state.seconds.get("running", 0.0) + state.seconds.get("outputs", 0.0)
    return [
        Run(
            at=time.time(), pipeline=pipeline.name, task=step.task.name, cloud=cluster.cloud,
            region=cluster.region, instance_type=cluster.instance_type, accelerator=placement.accelerator,
            accelerator_count=placement.accelerator_count, use_spot=cluster.use_spot,
            hours=step.driving.settings.scale.hours(took_s), input_gb=sum(inputs),
        )
    ]  # fmt: skip


def transfers(step: Step, cluster: Cluster, state: JobState) -> list[Happening]:
    """One event for each input that was moved here, with what its egress costs at the catalog's prices."""
    events: list[Happening] = []
    catalog, scale = load_catalog(step.driving.settings.home), step.driving.settings.scale
    here = (cluster.cloud, cluster.region, cluster.zone)
    for name, size in state.moved.get("inputs", {}).items():
        source = step.task.given.get(name)
        location = source.location if source else None
        if location is None:
            continue
        cloud, _, region = location.partition("/")
        gb = scale.gb(size)
        usd = float(catalog.egress([(cloud, region, None), here], gb)[0][0, 1])
        to = f"{cluster.cloud}/{cluster.region}"
        events.append(Moved(input=name, bytes=size, gb=gb, usd=usd, from_=location, to=to))
    if state.restored_generation is not None:
        usd, kept = 0.0, step.memory.checkpoint
        if kept is not None:
            cloud, _, region = kept.location.partition("/")
            usd = float(catalog.egress([(cloud, region, None), here], scale.gb(state.restored_bytes))[0][0, 1])
        generation, size = state.restored_generation, state.restored_bytes
        events.append(Restored(attempt=cluster.attempt, generation=generation, bytes=size, usd=usd))
    return events
