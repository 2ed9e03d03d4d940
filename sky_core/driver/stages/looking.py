"""What a cluster's cloud says of its machines."""

from __future__ import annotations

from dataclasses import replace

from sky_core.clouds.base import Instance
from sky_core.driver.step import Step
from sky_core.store import Cluster


def look(step: Step, cluster: Cluster) -> list[Instance]:
    """The cluster's machines, those that its cloud does not show yet counted as pending, whoever has launched them.

    That the cloud says anything shows that there is a network.

    Raises:
        CloudError: if it does not.
    """
    cloud = step.driving.clouds[cluster.cloud]
    found = list(cloud.describe(cluster.instance_ids))
    step.driving.hearing.heard()
    since = cluster.launched_at or cluster.intended_at
    if step.driving.store.now() - since > cloud.settle_s:
        return found
    return [replace(i, state="pending") if i.state == "gone" and not i.seen else i for i in found]
