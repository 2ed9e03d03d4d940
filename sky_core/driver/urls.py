"""Where in the buckets a job's attempts keep their things, and how those buckets are reached."""

from __future__ import annotations

import re
from typing import Any

from sky_core.driver.step import Step
from sky_core.facts import schemes
from sky_core.spec import Artifact
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


def storage_options(step: Step, cluster: Cluster) -> dict[str, dict[str, Any]]:
    """fsspec options by protocol, for the machine's own cloud and those its inputs come from."""
    given = [source.uri for source in step.task.inputs.values() if isinstance(source, Artifact) and source.uri]
    owners = schemes()
    bucket = step.driving.settings.clouds[cluster.cloud].bucket or ""
    given_schemes = [url.partition("://")[0] for url in (*given, *step.memory.checkpoint_urls, bucket)]
    clouds = {cluster.cloud} | {owners[scheme].name for scheme in given_schemes if scheme in owners}
    options = {cloud: dict(step.driving.clouds[cloud].storage_options()) for cloud in sorted(clouds)}
    return {scheme: options[cloud] for scheme, owner in owners.items() if (cloud := owner.name) in options}
