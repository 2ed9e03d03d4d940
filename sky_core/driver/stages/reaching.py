"""What a cluster's cloud says of its machines, and how they are reached: where, through what, past whose firewall."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import REFUSALS, Gated, Instance
from sky_core.driver.step import Step
from sky_core.errors import (
    CloudError,
    LinkLost,
    LoginRefused,
    NotSetUp,
    NoWayIn,
    PartlySilent,
    ProxyBroken,
    Scope,
    of_its_own,
)
from sky_core.events import WayCut
from sky_core.facts import facts_of
from sky_core.facts.managed import is_managed
from sky_core.job.bill import on_record
from sky_core.job.outcome import Outcome
from sky_core.ssh.machine import Machine
from sky_core.ssh.proxy import try_out
from sky_core.store import Cluster

log = logging.getLogger(__name__)

WAY_STANDS_S = 60.0  # for which a way that was tried is taken to stand
WAY_PATIENCE_S = 120.0  # for a bastion that is away
LONGEST_PAUSE_S = 30.0  # between two looks at a machine that does not answer
NO_ADDRESS_S = 20.0  # after which machines that run and have no public address are taken to get none


def look(step: Step, cluster: Cluster) -> list[Instance]:
    """The cluster's machines, those that its cloud does not show yet counted as pending, whoever has launched them just
    now; machines that another job had before are shown as long as they are there.

    That the cloud says anything shows that there is a network.

    Raises:
        CloudError: if it does not.
    """
    cloud = step.driving.clouds[cluster.cloud]
    found = list(cloud.describe(cluster.instance_ids))
    step.driving.hearing.heard()
    since = cluster.launched_at or cluster.intended_at
    if cluster.launched_as is not None or step.driving.store.now() - since > cloud.settle_s:
        return found
    return [replace(i, state="pending") if i.state == "gone" and not i.seen else i for i in found]


def ask_others(step: Step, cluster: Cluster) -> None:
    """Ask the other hosts of a cloud of one's own, whose control plane they are, whether there is a network."""
    try:
        step.driving.clouds[cluster.cloud].check()
    except CloudError as error:
        log.debug("%s: no other host answers: %s", step.job.id, error)
    else:
        step.driving.hearing.heard()


def machines_at(step: Step, cluster: Cluster, addresses: Sequence[str]) -> list[Machine | None]:
    """The cluster's machines as SSH calls them; None where there is none just now."""
    config = step.driving.settings.clouds[cluster.cloud]
    user = facts_of(cluster.cloud).user(cluster.instance_type)
    return [config.machine(ip, cluster.host_key, cluster.region, user) if ip else None for ip in addresses]


def while_pending(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> Cluster:
    """The cluster, its bill beginning no earlier than now where machines cost nothing until they run.

    Clouds tell when a machine was made; that it has begun to run is only seen. A service prepares machines that run.
    """
    pending = all(instance.seen and instance.state == "pending" for instance in instances)
    return replace(cluster, started_at=step.driving.store.now()) if pending and free_until_run(cluster) else cluster


def free_until_run(cluster: Cluster) -> bool:
    """Whether its machines cost nothing until they run."""
    return not (facts_of(cluster.cloud).bills_pending or is_managed(cluster.instance_type))


def none_has_run(step: Step, cluster: Cluster) -> bool:
    """Whether none of its machines has run so far, as its cloud says where that is all that costs.

    A cloud that does not answer is taken to have let them run.
    """
    if cluster is step.cluster and step.memory.started:
        return False
    if cluster.mends or cluster.launched_as is not None or not free_until_run(cluster):
        return False
    try:
        machines = look(step, cluster)
    except CloudError as error:
        log.debug("%s: whether %s has run: %s", step.job.id, cluster.token, error)
        return False
    return bool(machines) and all(has_not_run(one) for one in machines)


def has_not_run(machine: Instance) -> bool:
    """Whether it is being made, waits in its cloud's queue, or has come to nothing there."""
    refused = isinstance(machine.failed, REFUSALS) and not machine.preempted
    return refused or (machine.seen and machine.state == "pending")


def addresses_of(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> tuple[str, ...]:
    """Where the machines that have an address by now are called."""
    public = step.driving.settings.clouds[cluster.cloud].network.at(cluster.region).public_addresses
    found = (instance.ip if public else instance.private_ip for instance in instances)
    return tuple(address for address in found if address)


def no_address(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> NotSetUp | None:
    """Why machines that have run for a while are without an address; None if there is nothing wrong."""
    waited = time.time() - (step.memory.waiting_since or time.time())
    run = all(instance.state == "running" for instance in instances)
    if not run or waited < NO_ADDRESS_S or len(addresses_of(step, cluster, instances)) == len(instances):
        return None
    cure = f"set public_addresses = false in [clouds.{cluster.cloud}.network] of config.toml"
    return NotSetUp(f"{cluster.region}: machines run and get no public address", scope="region", cure=cure)


def let_in(step: Step, cluster: Cluster) -> None:
    """After a connection that failed: this machine may be seen at another address than the firewall lets in."""
    cloud = step.driving.clouds[cluster.cloud]
    if isinstance(cloud, Gated):
        try:
            cloud.let_in(cluster.instance_ids)
        except CloudError as error:
            log.warning("%s: the firewall could not be opened: %s", step.job.id, error)


def end_on_record(machines: Sequence[Instance], ours: float) -> float | None:
    """When these machines ended, by their cloud's record; None if it does not tell of each.

    Args:
        ours: Our own time of what ended them.
    """
    ends = [instance.ended_at for instance in machines]
    return on_record(ends, ours) if None not in ends else None


def way_cut(step: Step, cluster: Cluster, error: Exception | None = None) -> ProxyBroken | None:
    """What is wrong with the ``proxy_command`` that leads to the cluster's machines.

    Args:
        error: How they did not answer; None if there are none yet.
    """
    command, ways = _proxy_command(step, cluster), step.driving.ways
    if command is None or isinstance(error, PartlySilent | LoginRefused):
        return None
    if isinstance(error, ProxyBroken):
        ways.pop(command, None)
        return error
    if error is not None and not isinstance(error, LinkLost):
        return None
    if time.monotonic() - ways.get(command, float("-inf")) < WAY_STANDS_S:
        return None
    try:
        try_out(command)
    except ProxyBroken as cut:
        return cut
    ways[command] = time.monotonic()
    step.driving.hearing.forget(_way(step))
    return None


def no_way_in(step: Step, cluster: Cluster, cut: ProxyBroken) -> NoWayIn:
    """Why no machine is to be had where the same ``proxy_command`` leads. The next job sees for itself."""
    network = step.driving.settings.clouds[cluster.cloud].network
    own = network.regions.get(cluster.region)
    table = f".regions.{cluster.region}" if own and "proxy_command" in own.model_fields_set else ""
    everywhere = {network.proxy_command, *(network.at(region).proxy_command for region in network.regions)}
    scope: Scope = "cloud" if len(everywhere) == 1 else "region"
    where = f"clouds.{cluster.cloud}.network{table}"
    cure = f"look at proxy_command in [{where}] of config.toml, and at the bastion that it names"
    return of_its_own(NoWayIn(f"proxy_command: {cut.said}", scope=scope, cure=cure))


def wait_for_the_way(step: Step, cluster: Cluster, cut: ProxyBroken) -> tuple[Outcome, bool]:
    """To come back a little later, and whether that is of no use where nothing runs yet.

    Machines work on without us, and theirs is no silence: whether they are there, their cloud knows.
    """
    hearing, memory = step.driving.hearing, step.memory
    hearing.forget(step.job.id)
    silence = hearing.unanswered(_way(step))
    told = [WayCut(attempt=cluster.attempt, why=str(cut))] if silence.looks == 1 else []
    waits = step.comes_to(
        after_s=min(2.0 ** min(silence.looks - 1, 10), LONGEST_PAUSE_S if memory.started else 4.0),
        waiting_since=memory.waiting_since or time.time(),
        events=told,
    )
    return waits, cut.lasting or silence.seconds > WAY_PATIENCE_S


def way_stands(step: Step) -> bool:
    """The job's machines have answered: whether the way there was cut when they were last asked."""
    return step.driving.hearing.answered(_way(step)) is not None


def _way(step: Step) -> str:
    return f"{step.job.id} way"


def _proxy_command(step: Step, cluster: Cluster) -> str | None:
    if facts_of(cluster.cloud).own:
        return None
    return step.driving.settings.clouds[cluster.cloud].network.at(cluster.region).proxy_command
