"""Launches are owed until accounted for: whatever a call may have made, its cloud is asked until nothing of it is left.

A call whose reply was lost, or that was still under way when its driver died, may make machines after its job is over.
Each launch is on the store's list from before it is made; it goes off the list once its attempt's machines were seen
to have ended, or once its cloud, asked again after its settling time, says that nothing is there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sky_core.clouds.base import TAG_CLUSTER, TAG_JOB, TAG_OWNER, Cloud, Instance
from sky_core.driver.step import Driving
from sky_core.errors import CloudError, NotConnected
from sky_core.events import StrayEnded
from sky_core.job.bill import on_record
from sky_core.store import Cluster, Launch, Store

log = logging.getLogger(__name__)

SOON_S = 2.0  # between two looks at machines that are being ended
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Later:
    """A launch that is not accounted for yet.

    Attributes:
        after_s: When to look again.
        why: What its cloud said, if it could not be asked.
        here: Whether it can be asked from this host at all.
    """

    after_s: float
    why: str = ""
    here: bool = True


def settle(driving: Driving, launch: Launch) -> Later | None:
    """End what is there of a launch whose attempt is over; None once it is accounted for."""
    store = driving.store
    cluster = _of(store, launch.job_id, launch.token)
    if launch.cloud not in driving.clouds.usable():
        return Later(LONGEST_WAIT_S, f"{launch.cloud} cannot be used from here", here=False)
    try:
        cloud = driving.clouds[launch.cloud]
        tags = {TAG_OWNER: store.id, TAG_CLUSTER: launch.token}
        kind = cluster.instance_type if cluster else None
        found = cloud.find(tags, regions=[launch.region], instance_type=kind)
        end_strays(cloud, store, [instance for instance in found.instances if _stays(instance)])
        left = ((cluster and cluster.ended_at) or launch.asked_at) + cloud.settle_s - time.time()
    except NotConnected as error:
        return Later(LONGEST_WAIT_S, str(error), here=False)
    except CloudError as error:
        return Later(SOON_S, str(error))
    if found.unreachable:
        return Later(SOON_S, "; ".join(f"{place}: {why}" for place, why in found.unreachable.items()))
    if found.instances:
        return Later(SOON_S)
    if left > 0:
        return Later(min(left, LONGEST_WAIT_S))
    store.settle_launch(launch.token, "nothing is there")
    return None


def _stays(instance: Instance) -> bool:
    """Whether it is there until somebody ends it; what is on its way out is left alone."""
    return instance.state in ("pending", "running") or instance.preempted or instance.failed is not None


def _of(store: Store, job_id: str, token: str) -> Cluster | None:
    return next((cluster for cluster in store.clusters(job_id=job_id) if cluster.token == token), None)


def end_strays(cloud: Cloud, store: Store, strays: Sequence[Instance]) -> None:
    """End machines of one cloud whose attempts are over. They are on their jobs' bills before they are told to end:
    afterwards nobody finds them any more.

    Raises:
        CloudError: if their cloud does not answer; the bills then have them to this moment.
    """
    if not strays:
        return
    launches = sorted({(i.tags.get(TAG_JOB, ""), i.tags.get(TAG_CLUSTER, "")) for i in strays})
    alive = [instance for instance in strays if instance.state in ("pending", "running")]
    noted = [
        (cluster, mine)
        for job_id, token in launches
        if (mine := [i for i in alive if i.tags.get(TAG_CLUSTER) == token])
        and (cluster := _noted(store, job_id, token, mine))
    ]
    cloud.terminate([instance.id for instance in strays])
    for cluster, mine in noted:
        ends = [instance.ended_at for instance in cloud.describe([i.id for i in mine])]
        now = time.time()
        store.put_cluster(replace(cluster, stopped_at=on_record(ends, now) or now))


def _noted(store: Store, job_id: str, token: str, alive: Sequence[Instance]) -> Cluster | None:
    """A launch's record, with what is alive of it on its job's bill up to now, and in its story."""
    cluster = _of(store, job_id, token)
    ids = [instance.id for instance in alive]
    if cluster is None or set(ids) <= set(cluster.instance_ids):
        return cluster
    log.warning("%s: ending %s, which a launch of unknown outcome has left", job_id, ", ".join(ids))
    store.tell_once(job_id, StrayEnded(instances=ids, cloud=cluster.cloud))
    began = on_record([instance.launched_at for instance in alive], cluster.intended_at) or cluster.intended_at
    known = tuple(dict.fromkeys([*cluster.instance_ids, *ids]))
    noted = replace(cluster, started_at=cluster.started_at or began, stopped_at=time.time(), instance_ids=known)
    store.put_cluster(noted)
    return noted


class Debts:
    """The launches that one driver sees to, and when it looks at each of them next."""

    def __init__(self, driving: Driving) -> None:
        self._driving = driving
        self._due: dict[str, float] = {}  # by token, monotonic seconds
        self._errors: dict[str, int] = {}
        self._others: set[str] = set()  # tokens of launches that only another host can ask about

    def settle(self) -> int:
        """Look at those that are due; how many are left for this host to see to, attempts under way not counted."""
        store = self._driving.store
        owed = store.owed_launches(profile=self._driving.settings.profile)
        claimed = {cluster.tag for cluster in store.clusters(open_only=True)}  # read last: an attempt may end meanwhile
        left = 0
        for launch in owed:
            if launch.token not in claimed:
                waits = self._due.get(launch.token, 0.0) > time.monotonic() or not self._settled(launch)
                left += waits and launch.token not in self._others
        return left

    def _settled(self, launch: Launch) -> bool:
        later = settle(self._driving, launch)
        if later is None:
            self._due.pop(launch.token, None)
            return True
        if not later.here:
            self._others.add(launch.token)
        errors = self._errors[launch.token] = min(self._errors.get(launch.token, 0) + 1, 10) if later.why else 0
        if errors:
            log.warning("%s: cannot tell what a launch in %s has left: %s", launch.job_id, launch.region, later.why)
        self._due[launch.token] = time.monotonic() + min(later.after_s * 2.0**errors, LONGEST_WAIT_S)
        return False
