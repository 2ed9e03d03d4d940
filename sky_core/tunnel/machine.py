"""Where a job's machines are, as the store has it."""

from __future__ import annotations

from urllib.parse import quote

from sky_core.config import Settings
from sky_core.errors import SkyloomError
from sky_core.facts import facts_of
from sky_core.job.memory import Memory
from sky_core.ssh.machine import Machine
from sky_core.store import Job, Store


def machine_of(settings: Settings, store: Store, job: Job, rank: int = 0) -> tuple[Machine, str]:
    """The machine of that rank, and the job's working folder on it.

    Raises:
        SkyloomError: if there is none to log in to.
    """
    addresses = Memory.model_validate(job.memory).addresses
    open_ones = [one for one in store.clusters(job_id=job.id) if one.open and one.launched_at is not None]
    if job.over and not open_ones:
        raise SkyloomError(
            f"{job.id} is over ({job.state}), its machines are gone", cure="run it with --keep to have them"
        )
    if not open_ones or not addresses:
        raise SkyloomError(
            f"{job.id} has no machine that answers just now: it is {job.state}",
            cure=f"skyloom logs -f {job.id} shows when it has",
        )
    if rank >= len(addresses):
        cure = f"--rank 0 to {len(addresses) - 1}" if len(addresses) > 1 else "leave --rank out"
        raise SkyloomError(f"{job.id} has no machine of rank {rank} to log in to", cure=cure)
    if not addresses[rank]:
        raise SkyloomError(f"{job.id} has lost the machine of rank {rank}", cure="another takes its place in a while")
    cluster = open_ones[-1]
    config = settings.clouds[cluster.cloud]
    folder = f".skyloom/jobs/{quote(job.id, safe='')}/{cluster.attempt}/work"
    user = facts_of(cluster.cloud).user(cluster.instance_type)
    return config.machine(addresses[rank], cluster.host_key, cluster.region, user), folder
