"""Kept machines come to their end: when their time is over, when somebody says so, when they are gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sky_core.clouds.base import Cloud, Instance
from sky_core.config import Settings
from sky_core.driver.stages.closing import as_ended, costs
from sky_core.driver.stages.launch import observation
from sky_core.driver.step import Clouds, Driving
from sky_core.driver.warm import parking
from sky_core.errors import CloudError
from sky_core.job.bill import lifetime
from sky_core.store import Cluster, Store
from sky_core.store.records import Seen

log = logging.getLogger(__name__)

LOOK_S = 30.0  # between two looks whether they are still there
AGAIN_S, LONGEST_WAIT_S = 2.0, 60.0  # between two looks at machines that are to end


class Keeper:
    """What one driver does for the machines that its store keeps. Others may do the same beside it."""

    def __init__(self, driving: Driving) -> None:
        self._driving = driving
        self._due: dict[str, float] = {}  # by token, when it is looked at next, monotonic seconds
        self._errors: dict[str, int] = {}

    def turn(self) -> int:
        """See to what is due; how many there are that can be seen to from here."""
        store = self._driving.store
        kept = [c for c in store.kept_of(self._driving.settings.profile) if c.cloud in self._driving.clouds.usable()]
        now = store.now() if kept else 0.0
        for cluster in kept:
            over = cluster.stopped_at is None and now >= (cluster.kept_until or 0.0)
            if over or time.monotonic() >= self._due.get(cluster.token, 0.0):
                self._see_to(cluster, over=over)
        return len(kept)

    def _see_to(self, cluster: Cluster, *, over: bool) -> None:
        try:
            wait_s = self._step(self._driving.clouds[cluster.cloud], cluster, over=over)
            self._errors.pop(cluster.token, None)
        except CloudError as error:
            errors = self._errors[cluster.token] = self._errors.get(cluster.token, 0) + 1
            log.warning("%s: kept machines cannot be seen to: %s", cluster.job_id, error)
            wait_s = min(AGAIN_S * 2.0 ** min(errors, 10), LONGEST_WAIT_S)
        self._due[cluster.token] = time.monotonic() + wait_s

    def _step(self, cloud: Cloud, cluster: Cluster, *, over: bool) -> float:
        """Look, order the end, or note it; seconds until the next look.

        Raises:
            CloudError: if the cloud does not answer.
        """
        seen = cloud.describe(cluster.instance_ids)
        if cluster.stopped_at is not None or over or _lost(seen):
            why = cluster.outcome or _why(cluster, seen)
            at = min(time.time(), (cluster.kept_until or 0.0) + parking.MARGIN_S)  # by then it has ended itself
            ordered = self._driving.store.order_end(cluster.token, why, at)
            if ordered is None:
                return 0.0  # somebody has taken it
            cloud.terminate(cluster.instance_ids)
            seen = cloud.describe(cluster.instance_ids)
            if any(costs(instance) for instance in seen):
                return AGAIN_S
            self._note(ordered, seen)
        return LOOK_S

    def _note(self, cluster: Cluster, seen: Sequence[Instance]) -> None:
        if _note(self._driving.store, self._driving.settings, cluster, seen):
            log.info("%s: kept machines are gone: %s", cluster.job_id, cluster.outcome)
        self._due.pop(cluster.token, None)


def note_gone(clouds: Clouds, store: Store, settings: Settings) -> list[Cluster]:
    """Write down of what is kept past its end that it is gone, where its cloud says so; which that is.

    For where no driver is. Nothing is told to end: the machines do that themselves.
    """
    now, noted = store.now(), []
    for cluster in store.kept_of(settings.profile):
        if cluster.gone_by > now or cluster.cloud not in clouds.usable():
            continue
        try:
            seen = clouds[cluster.cloud].describe(cluster.instance_ids)
        except CloudError as error:
            log.warning("%s: kept machines cannot be seen to: %s", cluster.job_id, error)
            continue
        if any(costs(instance) for instance in seen):
            continue
        ordered = store.order_end(cluster.token, _why(cluster, seen), cluster.gone_by)
        if ordered is not None and _note(store, settings, ordered, seen):
            noted.append(ordered)
    return noted


def _note(store: Store, settings: Settings, cluster: Cluster, seen: Sequence[Instance]) -> bool:
    ended = as_ended(cluster, cluster.outcome, seen)
    kind: Seen = "preempted" if cluster.outcome == "preempted" else "released"
    return store.note_end(ended, observation(ended, kind, hours=lifetime(ended, settings.scale)))


def _lost(seen: Sequence[Instance]) -> bool:
    return not seen or any(instance.state in ("stopping", "gone") for instance in seen)


def _why(cluster: Cluster, seen: Sequence[Instance]) -> str:
    """What their end is called: a machine that has halted itself says nothing of its zone."""
    if not _lost(seen):
        return "idle"
    halted = any(instance.halted for instance in seen)
    return "preempted" if cluster.use_spot and not halted else "idle" if halted else "died"
