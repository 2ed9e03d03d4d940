"""Services of clouds that run an engine's clusters on their machines, as kinds of offering of their own.

What they sell is named ``release/machine``, such as ``emr-7.9.0/m5.4xlarge``: the catalog, plans and records know it by
that name, and a provider asks its service for it rather than for machines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SLASH = "/"


@dataclass(frozen=True)
class Managed:
    """One service.

    Attributes:
        name: What its releases' names begin with.
        called: Its name for people.
        engine: What it runs: what ``Resources.managed`` asks for.
        releases: The version of the engine in each release that is offered, the newest first.
        machines: The types of machine that it takes.
        user: Whom its machines let log in.
        fee_of_price: What it costs for each machine, beside the machine: a share of the machine's price in
            ``fee_region``, on demand…
        fee_region: …of one region, since the fee is the same everywhere…
        fee_at_most: …but USD an hour at most…
        fee_limited: …for these types.
        fee_per_vcpu: USD an hour for each vCPU.
        fewest_beside: Machines beside the first that a cluster of more than one has at least.
        start_hours: From its creation until a command begins on a cluster.
    """

    name: str
    called: str
    engine: str
    releases: Mapping[str, str]
    machines: re.Pattern[str]
    user: str
    start_hours: float
    fee_of_price: float = 0.0
    fee_region: str = ""
    fee_at_most: float = 0.0
    fee_limited: str = ""
    fee_per_vcpu: float = 0.0
    fewest_beside: int = 1

    def takes(self, nodes: int) -> bool:
        """Whether a cluster may have so many machines."""
        return nodes == 1 or nodes > self.fewest_beside


def is_managed(instance_type: str) -> bool:
    """Whether it is what a service sells, rather than a machine."""
    return SLASH in instance_type


def parts(instance_type: str) -> tuple[str, str]:
    """Release and machine of what a service sells: ``("emr-7.9.0", "m5.4xlarge")``; a machine has the release ""."""
    release, _, machine = instance_type.rpartition(SLASH)
    return release, machine


def everything_of(instance_type: str) -> str:
    """What stands for all that a service sells of a release: ``"emr-7.9.0/"``; a machine stands for itself."""
    release, _ = parts(instance_type)
    return f"{release}{SLASH}" if release else instance_type


def is_of(everything: str, instance_type: str) -> bool:
    """Whether :func:`everything_of` stands for it."""
    return everything.endswith(SLASH) and instance_type.startswith(everything)


# https://docs.aws.amazon.com/emr/latest/ReleaseGuide/Spark-release-history.html: the last of each minor version.
EMR = Managed(
    name="emr",
    called="Amazon EMR",
    engine="spark",
    releases={
        "emr-7.9.0": "3.5.5",
        "emr-6.15.0": "3.4.1",
        "emr-6.11.1": "3.3.2",
        "emr-6.7.0": "3.2.1",
    },
    # "Supported instance types": general purpose, compute, memory and storage optimized, from xlarge on.
    machines=re.compile(r"^(m5|m5a|m5d|m6a|m6g|m6gd|m6i|c5|c5d|c6g|c6i|r5|r5a|r5d|r6g|r6i|i3|i3en|i4i)\.\d*xlarge$"),
    user="hadoop",
    start_hours=0.12,  # until a step runs; AWS names no figure, see docs/clusters.md
    # "Amazon EMR pricing": 0.048 for m5.xlarge at 0.192, 0.192 for m5.4xlarge at 0.768, 0.27 for m5.8xlarge and larger
    fee_of_price=0.25,
    fee_region="us-east-1",
    fee_at_most=0.27,
    fee_limited=r"^[a-z]+[1-5][a-z]*\.",
)
# https://cloud.google.com/dataproc/docs/concepts/versioning/dataproc-version-clusters: minor versions stay as they are.
DATAPROC = Managed(
    name="dataproc",
    called="Dataproc",
    engine="spark",
    releases={"dataproc-2.2": "3.5.3", "dataproc-2.1": "3.3.2"},
    # "Supported machine types": general purpose and compute optimized, from four vCPUs on.
    machines=re.compile(r"^(n1|n2|n2d|e2|c2|c2d|c3|c3d)-(standard|highmem|highcpu)-([48]|\d\d+)$"),
    user="",  # whom the settings name: Google's guest agent makes it
    start_hours=0.05,  # "90 seconds or less, on average" (Dataproc's overview), and what our agent takes
    fee_per_vcpu=0.010,  # "Dataproc pricing", by the second with a minimum of a minute
    fewest_beside=2,
)
