"""Jobs that are left to other hosts: this one has no SDK, or no good login, of a cloud that their submitter may use.

Without its cloud nothing can be said of a machine, nor done about it; and a job would be planned, or failed, on what
this host happens to have. So the job is let go of, and says so among its events. A driver that can use the cloud takes
it at once.
"""

from __future__ import annotations

import socket
import time

from sky_core.clouds.credentials import login_of, same_host
from sky_core.driver.step import Step
from sky_core.events import CloudMissing


class LeftToOthers(Exception):
    """Nothing of the step was done: a driver of another host has to take it."""


def leave(step: Step) -> None:
    """Leave the job to others, if it is in a cloud that cannot be used from here, or is planned to go there.

    Raises:
        LeftToOthers: if so.
    """
    usable = step.driving.clouds.usable()
    present = [cluster for cluster in (step.cluster, step.successor) if cluster is not None]
    machines = {cluster.cloud for cluster in present if cluster.state == "launched"} - usable
    if machines:
        _tell(step, machines)
        raise LeftToOthers(step.job.id)
    if step.job.cancel_reason is not None or step.memory.verdict is not None:
        return  # what there is to end can be ended without the cloud; what was asked for stays owed
    if any(cluster.state == "launched" for cluster in present):
        return  # somebody has to look after the machines that can be reached
    _leave_for_a_while(step, ({cluster.cloud for cluster in present} or _planned(step)) & _missing(step))


def leave_what_others_can_place(step: Step) -> None:
    """Leave a job for which nothing is to be had from here to a host that can use more of what it may use.

    Raises:
        LeftToOthers: if there may be one.
    """
    _leave_for_a_while(step, _missing(step) | _refused(step))


def _missing(step: Step) -> set[str]:
    """The clouds that the job's submitter could use and this host cannot."""
    return set(step.needs.clouds if step.needs else ()) - step.driving.clouds.usable()


def _refused(step: Step) -> set[str]:
    """The clouds that refused what this host logs in with lately, where the submitter is on another one."""
    settings, theirs = step.driving.settings, step.needs.logins if step.needs else {}
    ours = {cloud: login_of(cloud, settings) for cloud in theirs}
    seen = step.driving.store.observations(since=time.time() - settings.blocked_ttl_s)
    refused = {item.cloud for item in seen if item.kind == "auth" and item.login == ours.get(item.cloud, "")}
    return {cloud for cloud in refused if not same_host(theirs[cloud], ours[cloud])}


def _planned(step: Step) -> set[str]:
    planned = step.planned()[2].placements.get(step.job.task)
    return {planned.cloud} if planned else set()


def _leave_for_a_while(step: Step, missing: set[str]) -> None:
    """Leave a job without machines to others for ``orphan_ttl_s``; if nobody comes, it goes on from here as it may."""
    if missing and time.time() - _tell(step, missing) < step.driving.settings.orphan_ttl_s:
        raise LeftToOthers(step.job.id)


def _tell(step: Step, missing: set[str]) -> float:
    """Say once an attempt that this host leaves the job alone; when the first host did so."""
    store, attempt = step.driving.store, step.job.attempt
    store.tell_once(step.job.id, CloudMissing(attempt=attempt, host=socket.gethostname(), clouds=sorted(missing)))
    told = [(event.at, event.what) for event in store.events(step.job.id)]
    return min(at for at, what in told if isinstance(what, CloudMissing) and what.attempt == attempt)
