"""What a cluster's cloud says of its machines, and how they are reached: where, and through whose firewall."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from sky_core.clouds.base import Gated, Instance
from sky_core.driver.step import Step
from sky_core.errors import CloudError, NotSetUp
from sky_core.facts import facts_of
from sky_core.facts.managed import is_managed
from sky_core.job.bill import sharpened
from sky_core.ssh.machine import Machine
from sky_core.store import Cluster

log = logging.getLogger(__name__)

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
    free = pending and not (facts_of(cluster.cloud).bills_pending or is_managed(cluster.instance_type))
    return replace(cluster, started_at=step.driving.store.now()) if free else cluster


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
    """When the last of these machines ended, by their cloud's record; None if it does not tell of each.

    Args:
        ours: Our own time of what ended them.
    """
    ends = [instance.ended_at for instance in machines if instance.ended_at is not None]
    return sharpened(max(ends), ours) if len(ends) == len(machines) > 0 else None
