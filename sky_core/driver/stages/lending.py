"""Credentials that machines are lent, for what their job needs and some hours; never the driver's own.

They are lent anew when half their time is over, with a look that is taken anyway: a job outlives any login of ours.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence

from sky_core.clouds.base import Reach
from sky_core.driver.step import Step
from sky_core.driver.urls import checkpoint_url, mount_url, output_urls, storage_options, verdict_url
from sky_core.errors import CloudError, LinkLost, MachineError
from sky_core.facts import schemes
from sky_core.remote.agent.data.stores import make_bucket
from sky_core.spec import Artifact
from sky_core.ssh.machine import Machine
from sky_core.store import Cluster

log = logging.getLogger(__name__)

AGAIN_S = 60.0  # after a failure to lend


def lend(step: Step, cluster: Cluster, bucket: str) -> dict[str, dict[str, object]]:
    """fsspec options by scheme for the machines of a cluster, for all that their job reads and writes.

    Raises:
        AuthError: if a login cannot lend.
    """
    owners = schemes()
    places: dict[str, list[Reach]] = defaultdict(list)
    for reach in reaches(step, cluster, bucket):
        scheme = reach.url.partition("://")[0]
        if scheme in owners:
            places[owners[scheme].name].append(reach)
    loans = {name: step.driving.clouds[name].lend(wanted, cluster.cloud) for name, wanted in sorted(places.items())}
    now = time.time()
    ends = [loan.ends_at for loan in loans.values() if loan.ends_at is not None]
    step.driving.renew_at[step.job.id] = now + (min(ends) - now) / 2 if ends else math.inf
    return {scheme: dict(loans[owner.name].options) for scheme, owner in owners.items() if owner.name in loans}


def reaches(step: Step, cluster: Cluster, bucket: str) -> list[Reach]:
    """What a job's machines read and write, each place once."""
    task, memory = step.task, step.memory
    verdicts = verdict_url(step, cluster, bucket).rpartition("/")[0]  # one of each rank
    written = [*output_urls(step, cluster, bucket).values(), verdicts]
    given = [source.uri for source in task.inputs.values() if isinstance(source, Artifact) and source.uri]
    read: list[str] = []
    if task.checkpoint:
        written.append(checkpoint_url(step, bucket))
        read += memory.checkpoint_urls
    for mount in task.mounts.values():
        if url := mount_url(step, mount):
            (written if mount.write_back else read).append(url)
    return [
        *(Reach(url, write=True) for url in dict.fromkeys(written)),
        *(Reach(url, write=False) for url in dict.fromkeys(read) if url not in written),
        *(Reach(url, write=False, folder=False) for url in dict.fromkeys(given) if url not in (*written, *read)),
    ]


def make_buckets(step: Step, cluster: Cluster) -> None:
    """Make the buckets that the task mounts by name: a machine may not."""
    for mount in step.task.mounts.values():
        if mount.bucket is not None:
            make_bucket(mount_url(step, mount) or "", storage_options(step, cluster))


def renew(step: Step, cluster: Cluster, machines: Sequence[Machine | None]) -> None:
    """Lend anew if it is time, or if nobody knows when that is: another driver has lent.

    What goes wrong is tried again in a while; what was lent before holds for as long again.
    """
    at, job = step.driving.renew_at, step.job
    if time.time() < at.get(job.id, 0.0) or not step.memory.bucket:
        return
    try:
        options = lend(step, cluster, step.memory.bucket)
        step.driving.executors[cluster.cloud].renew(machines, job.id, cluster.attempt, options)
    except MachineError as error:  # an agent of an earlier version
        log.info("%s: it keeps the credentials it has: %s", job.id, error)
    except (CloudError, LinkLost) as error:
        at[job.id] = time.time() + AGAIN_S
        log.warning("%s: no fresh credentials yet: %s", job.id, error)
