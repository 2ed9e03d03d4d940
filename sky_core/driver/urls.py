"""Where in the buckets a job's attempts keep their things, and how those buckets are reached."""

from __future__ import annotations

import re

from sky_core.driver.step import Step
from sky_core.facts import facts_of, schemes
from sky_core.remote.executor import Mounted
from sky_core.spec import Artifact, Mount
from sky_core.store import Cluster


def output_urls(step: Step, cluster: Cluster, bucket: str) -> dict[str, str]:
    """Where each output is published: a folder of this attempt's own, so that no two attempts can mix."""
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", step.job.plan_key)
    folder = f"{bucket}/runs/{run}/{step.job.task}/{step.job.id}-{cluster.attempt}"
    return {name: given.uri or f"{folder}/{name}" for name, given in step.task.outputs.items()}


def location_of(step: Step, cluster: Cluster) -> str:
    """Where what the cluster's jobs leave in their bucket lies, for the price of moving it: ``cloud/region``."""
    config = step.driving.settings.clouds[cluster.cloud]
    owner = schemes().get((config.bucket or "").partition("://")[0])
    if owner is None:
        return f"{cluster.cloud}/{cluster.region}"
    return f"{owner.name}/{config.bucket_region or owner.default_region}"


def checkpoint_url(step: Step, bucket: str) -> str:
    """Where all attempts in this bucket keep their checkpoints."""
    return f"{bucket}/checkpoints/{step.job.id}"


def verdict_url(step: Step, cluster: Cluster, bucket: str) -> str:
    """Where an attempt that ends by itself writes how."""
    return f"{bucket}/verdicts/{step.job.id}/{cluster.attempt}.json"


def mount_url(step: Step, mount: Mount) -> str | None:
    """Where a mounted bucket is; None for what is mounted of the submitter's own disk alone.

    One that has a name only is in the store that the task names, else in that of the first cloud it may use: the same
    for all of a team's jobs, wherever they run.
    """
    if mount.bucket is None:
        return mount.uri
    allowed = step.needs.clouds if step.needs else step.driving.settings.enabled_clouds()
    cloud = mount.store or min(allowed, key=lambda name: (not facts_of(name).schemes, name))
    ours = step.driving.clouds[cloud].storage(facts_of(cloud).default_region).url
    scheme, _, place = ours.partition("://")
    _, at, account = place.partition("@")  # of Azure's, a container's account goes with it
    return f"{scheme}://{mount.bucket}{at}{account}"


def mounts(step: Step) -> tuple[Mounted, ...]:
    """The task's mounts as its agent reads them; local sources by their number in the archive."""
    sources = [path for path, mount in step.task.mounts.items() if mount.source]
    return tuple(
        {
            "path": path,
            "url": mount_url(step, mount),
            "file": sources.index(path) if mount.source else None,
            "write_back": mount.write_back,
        }
        for path, mount in step.task.mounts.items()
    )


def storage_options(step: Step, cluster: Cluster) -> dict[str, dict[str, object]]:
    """fsspec options by protocol, for the machine's own cloud and those its inputs come from."""
    given = [source.uri for source in step.task.inputs.values() if isinstance(source, Artifact) and source.uri]
    mounted = [url for mount in step.task.mounts.values() if (url := mount_url(step, mount))]
    owners = schemes()
    bucket = step.driving.settings.clouds[cluster.cloud].bucket or ""
    given_schemes = [url.partition("://")[0] for url in (*given, *mounted, *step.memory.checkpoint_urls, bucket)]
    clouds = {cluster.cloud} | {owners[scheme].name for scheme in given_schemes if scheme in owners}
    options = {cloud: dict(step.driving.clouds[cloud].storage_options()) for cloud in sorted(clouds)}
    return {scheme: options[cloud] for scheme, owner in owners.items() if (cloud := owner.name) in options}
