"""What the principal that drives needs on Google Cloud, by what it is needed for.

https://cloud.google.com/compute/docs/reference/rest/v1 names the permissions of each method; tokens for machines are
exchanged for ours, which takes none.
"""

from __future__ import annotations

from sky_core.clouds.needs import Need

NEEDS = (
    Need(
        "launching and ending machines",
        (
            "compute.zones.list",
            "compute.instances.create",
            "compute.instances.setMetadata",
            "compute.instances.setTags",
            "compute.instances.setLabels",
            "compute.disks.create",
            "compute.disks.setLabels",
            "compute.subnetworks.use",
            "compute.subnetworks.useExternalIp",
            "compute.firewalls.create",
            "compute.networks.updatePolicy",
            "compute.instances.get",
            "compute.instances.list",
            "compute.instances.delete",
            "compute.disks.delete",
            "compute.zoneOperations.get",
            "compute.zoneOperations.list",
        ),
    ),
    Need("following this machine's address", ("compute.firewalls.update", "compute.firewalls.list")),
    Need("sweeping", ("compute.disks.list", "compute.firewalls.delete")),
    Need(
        "buckets, and what machines are lent of them: no more than this login has",
        (
            "storage.buckets.create",
            "storage.buckets.get",
            "storage.buckets.list",
            "storage.objects.create",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.delete",
            "storage.multipartUploads.create",
            "storage.multipartUploads.abort",
        ),
    ),
    Need(
        "machines with a service account (machine_identity)",
        ("compute.instances.setServiceAccount", "iam.serviceAccounts.actAs"),
        "identity",
    ),
    Need("reserved machines", ("compute.reservations.list",), "optional"),
    Need("quotas before launching", ("compute.regions.list", "compute.projects.get"), "optional"),
    Need(
        "TPUs, queued for or not",  # queued resources have no permissions of their own
        (
            "tpu.nodes.create",
            "tpu.nodes.get",
            "tpu.nodes.list",
            "tpu.nodes.delete",
            "tpu.operations.get",
            "iam.serviceAccounts.actAs",
        ),
        "optional",
    ),
    Need(
        "managed Spark on Dataproc",
        (
            "dataproc.clusters.create",
            "dataproc.clusters.get",
            "dataproc.clusters.list",
            "dataproc.clusters.delete",
            "iam.serviceAccounts.actAs",
        ),
        "optional",
    ),
    Need("skyloom check --deep", ("compute.networks.get",), "optional"),
)
