"""Finding machines that are ours and belong to nobody: what crashes leave behind, told by tags, not by records."""

from __future__ import annotations

from dataclasses import dataclass

from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER, Instance
from sky_core.config import Settings
from sky_core.driver.step import Clouds
from sky_core.errors import CloudError
from sky_core.planner.market import usable_clouds
from sky_core.store import Store


@dataclass(frozen=True)
class Collected:
    """What a sweep found.

    Attributes:
        orphans: Machines of ours that no live job has a claim to.
        in_use: Machines of live jobs.
        unreachable: Clouds, and regions of clouds, that could not be asked, each with the reason.
    """

    orphans: tuple[Instance, ...]
    in_use: tuple[Instance, ...]
    unreachable: dict[str, str]


def collect(settings: Settings, store: Store, *, terminate: bool) -> Collected:
    """Ask every usable cloud for our machines; with ``terminate``, end those that belong to no live job."""
    clouds = Clouds(settings)
    # An intent is written before its launch: a machine of ours without an open cluster is nobody's.
    found: list[Instance] = []
    unreachable: dict[str, str] = {}
    for name in usable_clouds(settings):
        try:
            look = clouds[name].find({TAG_OWNER: store.id})
            found += look.instances
            unreachable |= {f"{name}/{place}": why for place, why in look.unreachable.items()}
        except CloudError as error:
            unreachable[name] = str(error)
    claimed = {cluster.token for cluster in store.clusters(open_only=True)}
    orphans = tuple(instance for instance in found if instance.tags.get(TAG_CLUSTER) not in claimed)
    if terminate:
        for name in {instance.cloud for instance in orphans}:
            clouds[name].terminate([instance.id for instance in orphans if instance.cloud == name])
    return Collected(orphans, tuple(i for i in found if i not in orphans), unreachable)
