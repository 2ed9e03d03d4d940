"""The end of a job that leaves its machines to the next one."""

from __future__ import annotations

import time
from dataclasses import replace

from sky_core.driver.stages.launch import request_for
from sky_core.driver.stages.reaching import machines_at
from sky_core.driver.step import Step
from sky_core.errors import CloudError, HostKeyMismatch, LinkLost, MachineError
from sky_core.events import Kept
from sky_core.facts import facts_of
from sky_core.job.outcome import Outcome
from sky_core.job.spending import caps, exceeded
from sky_core.remote.executor import Warm
from sky_core.store import Cluster
from sky_core.store.records import KEPT_MARGIN_S

MARGIN_S = KEPT_MARGIN_S


class CannotKeep(Exception):
    """Why the machines are ended although they were to be kept."""


def park(step: Step, cluster: Cluster) -> Outcome | None:
    """Keep the machines of a job that has its verdict, in two steps; None if they are not to be kept.

    Raises:
        CannotKeep: if they cannot be.
    """
    keep = step.task.keep
    if keep is None or not _is_well(step, cluster):
        return None
    store, settings = step.driving.store, step.driving.settings
    if cluster.kept_until is None:
        ends = time.time() + settings.scale.seconds(keep)
        usd = keep * cluster.price_at(ends) * cluster.num_nodes
        _, _, plan = step.planned()
        allowed = caps(step.settings, step.task, plan.objective)
        if allowed and (why := exceeded(store, step.settings, step.job, allowed, usd, what="a keeping of machines")):
            raise CannotKeep(why)
        until = store.now() + settings.scale.seconds(keep)
        return step.comes_to(cluster=replace(cluster, kept_as=step.task.warm, kept_until=until))
    left = cluster.kept_until - store.now()
    if left <= 0:
        raise CannotKeep("their time is over")
    executor = step.driving.executors[cluster.cloud]
    if facts_of(cluster.cloud).own or not isinstance(executor, Warm):
        raise CannotKeep(f"{cluster.cloud} gives back machines that no job has")
    try:
        machines = [machine for machine in machines_at(step, cluster, step.memory.addresses) if machine is not None]
        executor.keep(machines, cluster.cloud, step.job.id, cluster.attempt, left + MARGIN_S)
    except (CloudError, HostKeyMismatch, LinkLost, MachineError) as error:
        raise CannotKeep(str(error)) from error
    kept = replace(cluster, state="kept", kept_at=time.time())
    told = Kept(attempt=cluster.attempt, name=kept.kept_as or "", until=cluster.kept_until,
                usd_per_hour=cluster.price * cluster.num_nodes)  # fmt: skip
    return step.comes_to(cluster=kept, launches=[request_for(cluster, settled="kept")], events=[told])


def _is_well(step: Step, cluster: Cluster) -> bool:
    """Whether the command has come to its own end there, good or bad, and nothing is wrong with the machines."""
    memory = step.memory
    by_itself = memory.verdict in ("succeeded", "failed") and memory.result.get("exit_code") is not None
    alone = step.cluster is cluster and step.successor is None and not memory.members
    return (
        by_itself
        and alone
        and memory.closing == memory.verdict
        and memory.started
        and not (memory.evicted or cluster.stopped_at is not None or cluster.state != "launched")
    )
