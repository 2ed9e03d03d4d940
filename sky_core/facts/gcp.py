"""Google Cloud."""

from __future__ import annotations

import math
import re

from sky_core.facts.base import CloudFacts, CpuMaker, Credentials
from sky_core.facts.managed import DATAPROC
from sky_core.facts.reserved import Reservations

# "Machine families resource guide"
ARM = {"t2a", "c4a", "n4a", "a4x"}
AMD = {"n2d", "c2d", "t2d", "c3d", "c4d", "n4d", "h4d", "g4"}
# Flex-start VMs: "VM provisioning models" and "Create Flex-start VMs" (requestValidForDuration)
FLEX_START = frozenset({"a2", "a3", "a4", "g2", "g4"})
FLEX_START_HOURS = 2.0
MIXED = {"e2", "TPU"}  # e2 lands on either maker's processors; Google does not tell for TPU hosts


def cpu_maker(instance_type: str) -> CpuMaker | None:
    series = instance_type.split("-", 1)[0]
    if series in MIXED:
        return None
    return "arm" if series in ARM else "amd" if series in AMD else "intel"


def _is_tpu(instance_type: str) -> bool:
    return instance_type.startswith("TPU")


def _queue_hours(instance_type: str, use_spot: bool) -> float:
    """Cloud TPU names no longest wait for its queued resources; Flex-start VMs are on demand only."""
    if _is_tpu(instance_type):
        return math.inf
    return FLEX_START_HOURS if not use_spot and instance_type.partition("-")[0] in FLEX_START else 0.0


FACTS = CloudFacts(
    name="gcp",
    one_network=True,
    provider="sky_core.clouds.gcp.provider:Gcp",
    also_called=("google", "gcloud", "gce"),
    on_machine="sky_core.remote.agent.host.clouds.gcp",
    sdk=("google.cloud.compute_v1", "google.cloud.tpu_v2", "google.cloud.storage", "gcsfs"),
    extra="gcp",
    schemes={"gs": "gs"},
    filesystem="gcsfs",
    default_region="us-central1",
    credentials=Credentials(
        variables=("GOOGLE_APPLICATION_CREDENTIALS",),
        files=(".config/gcloud/application_default_credentials.json",),
        account="a project (account)",
        account_variables=("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"),
    ),
    quotas="https://console.cloud.google.com/iam-admin/quotas",
    audit="sky_core.clouds.gcp.account.audit:audit",
    prices="sky_core.catalog.refresh.sources.gcp:source",
    zone=re.compile(r"^(.+)-[a-z]$"),
    billed_gb_bytes=2**30,  # VPC price page: "GiB"
    gbit_out=7.0,  # a cap of the cloud's: Skyplane, NSDI'23, section 2
    preemptions_per_hour=0.10 / 24,  # "5% to 15% a day": Compute Engine documentation, "Preemptible VM instances"
    # "VM instance pricing": until its state is TERMINATED, one minute at least. A TPU node costs money while it is
    # READY; the page of Cloud TPU names no minimum.
    bills_stopping=lambda instance_type: not _is_tpu(instance_type),
    least_billed_s=lambda instance_type: 0.0 if _is_tpu(instance_type) else 60.0,
    queue_hours=_queue_hours,
    cpu_maker=cpu_maker,
    managed=(DATAPROC,),
    reservations=Reservations(
        called="reservation",
        # "projects/OWNER/reservations/NAME" for one that another project shares.
        name=re.compile(r"^(projects/[a-z][a-z0-9.:-]*/reservations/)?[a-z]([-a-z0-9]{0,61}[a-z0-9])?$"),
        example="projects/my-project/reservations/my-reservation",
        zonal=True,
        takes=lambda instance_type: not _is_tpu(instance_type),  # nodes are reserved in the API of Cloud TPU
        held="sky_core.clouds.gcp.account.reservations:held",
    ),
)
