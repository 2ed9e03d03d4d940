"""The variables of a job's commands: ours, SkyPilot's, and those in which launchers look for a gang's machines."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping

from .job import BROUGHT, Job, Place

PORTS = range(20000, 32000)  # below those that Linux and Kubernetes give out by themselves


def environment(job: Job, place: Place, inputs: Mapping[str, str], base: Mapping[str, str]) -> dict[str, str]:
    """What the user's command sees, see ``Task`` in ``spec.py``; ``inputs`` are the local paths."""
    ours = {f"SKY_INPUT_{name.upper()}": path for name, path in inputs.items()}
    ours.update({f"SKY_OUTPUT_{name.upper()}": str(place.output(name)) for name in job.outputs})
    ours.update(
        SKY_CHECKPOINT_DIR=str(place.checkpoint),
        SKY_EVICTION_FILE=str(place.eviction),
        SKY_PROGRESS_FILE=str(place.progress),
        SKY_NODE_RANK=str(job.rank),
        SKY_NUM_NODES=str(len(job.node_ips)),
        SKY_NODE_IPS="\n".join(job.node_ips),
        SKY_JOB_ID=job.job_id,
        SKY_ATTEMPT=str(job.attempt),
        SKY_RELIABLE="0" if job.spare else "1",
    )
    given = {**skypilot(job), **gang(job, place), **job.envs, **job.secrets}
    found = {**base, "PYTHONUNBUFFERED": "1", **given, **ours}
    paths = (found.get("PYTHONPATH"), f"{place.program}/{BROUGHT}")
    return {**found, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


CLOUDS_THERE = {"aws": "AWS", "gcp": "GCP", "azure": "Azure"}  # as SkyPilot's scripts compare them


def skypilot(job: Job) -> dict[str, str]:
    """What SkyPilot's users find in the environment, by its names.

    https://docs.skypilot.co/en/latest/running-jobs/environment-variables.html
    """
    nodes = {
        "NODE_RANK": str(job.rank),
        "NODE_IPS": "\n".join(job.node_ips),
        "NUM_GPUS_PER_NODE": str(job.gpus_per_node),
    }
    cloud = str(job.place.get("cloud", ""))
    cluster = {"cluster_name": job.job_id, **job.place, "cloud": CLOUDS_THERE.get(cloud, cloud)}
    about = {
        **nodes,
        **{f"SETUP_{name}": value for name, value in nodes.items()},
        "NUM_NODES": str(len(job.node_ips)),
        "TASK_ID": job.job_id,
        "CLUSTER_INFO": json.dumps(cluster),
    }
    return {f"SKYPILOT_{name}": value for name, value in about.items()}


def port(job: Job, number: int = 0) -> int:
    """A port for what rank 0 serves, the same on all machines; another one for each job, attempt and number."""
    name = f"{job.job_id}/{job.attempt}/{number}".encode()
    return PORTS[zlib.crc32(name) % len(PORTS)]


def gang(job: Job, place: Place) -> Mapping[str, str]:
    """What a gang's commands find beside ``SKY_NODE_RANK``, ``SKY_NUM_NODES`` and ``SKY_NODE_IPS``; alone, nothing.

    Scripts hand ``MASTER_ADDR``, ``MASTER_PORT``, ``NODE_RANK``, ``NNODES`` and ``GPUS_PER_NODE`` to their launcher, as
    PyTorch's examples do; Lightning reads the first three itself:
    https://lightning.ai/docs/pytorch/stable/clouds/cluster_intermediate_1.html. JAX reads ``JAX_COORDINATOR_ADDRESS``.
    ``SKY_HOSTFILE`` lists the addresses, one a line, as ``mpirun --hostfile`` takes it.
    """
    if len(job.node_ips) < 2:
        return {}
    master = job.node_ips[0]
    return {
        "MASTER_ADDR": master,
        "MASTER_PORT": str(port(job)),
        "NODE_RANK": str(job.rank),
        "NNODES": str(len(job.node_ips)),
        "GPUS_PER_NODE": str(job.gpus_per_node),
        "JAX_COORDINATOR_ADDRESS": f"{master}:{port(job, 1)}",
        "SKY_HOSTFILE": str(place.hosts),
    }
