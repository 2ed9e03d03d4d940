"""Which permissions each call takes, as the clouds' own references of their methods and actions say.

AWS: https://docs.aws.amazon.com/service-authorization/latest/reference; Google: the section "IAM permissions" of each
method, https://cloud.google.com/compute/docs/reference/rest/v1; Azure:
https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FREE = frozenset({"sts:GetCallerIdentity"})  # nobody can be denied that

GOOGLE: Mapping[str, tuple[str, ...]] = {
    "zones.get": ("compute.zones.get",),
    "zones.list": ("compute.zones.list",),
    "regions.get": ("compute.regions.get",),
    "projects.get": ("compute.projects.get",),
    "regions.list": ("compute.regions.list",),
    "machineTypes.get": ("compute.machineTypes.get",),
    "machineTypes.list": ("compute.machineTypes.list",),
    "acceleratorTypes.list": ("compute.acceleratorTypes.list",),
    "images.getFromFamily": ("compute.images.getFromFamily",),
    "instances.insert": (
        "compute.instances.create",
        "compute.instances.setMetadata",
        "compute.instances.setTags",
        "compute.instances.setLabels",
        "compute.disks.create",
        "compute.disks.setLabels",
        "compute.subnetworks.use",
    ),
    "instances.get": ("compute.instances.get",),
    "instances.list": ("compute.instances.list",),
    "instances.delete": ("compute.instances.delete", "compute.disks.delete"),
    "instances.setLabels": ("compute.instances.setLabels",),
    "instances.aggregatedList": ("compute.instances.list",),
    "disks.aggregatedList": ("compute.disks.list",),
    "reservations.get": ("compute.reservations.get",),
    "reservations.list": ("compute.reservations.list",),
    "reservations.aggregatedList": ("compute.reservations.list",),
    "networks.get": ("compute.networks.get",),
    "networks.list": ("compute.networks.list",),
    "firewalls.insert": ("compute.firewalls.create", "compute.networks.updatePolicy"),
    "firewalls.patch": ("compute.firewalls.update", "compute.networks.updatePolicy"),
    "firewalls.get": ("compute.firewalls.get",),
    "firewalls.list": ("compute.firewalls.list",),
    "firewalls.delete": ("compute.firewalls.delete", "compute.networks.updatePolicy"),
    "zoneOperations.get": ("compute.zoneOperations.get",),
    "zoneOperations.wait": ("compute.zoneOperations.get",),
    "zoneOperations.list": ("compute.zoneOperations.list",),
    "globalOperations.get": ("compute.globalOperations.get",),
    "globalOperations.wait": ("compute.globalOperations.get",),
    "nodes.create": ("tpu.nodes.create", "iam.serviceAccounts.actAs"),
    "nodes.get": ("tpu.nodes.get",),
    "nodes.list": ("tpu.nodes.list",),
    "nodes.delete": ("tpu.nodes.delete",),
    # Queued resources have no permissions of their own among all those that there are for TPUs,
    # https://cloud.google.com/iam/docs/roles-permissions/tpu.
    "queuedResources.create": ("tpu.nodes.create", "iam.serviceAccounts.actAs"),
    "queuedResources.get": ("tpu.nodes.get",),
    "queuedResources.list": ("tpu.nodes.list",),
    "queuedResources.delete": ("tpu.nodes.delete",),
    "tpuOperations.get": ("tpu.operations.get",),
    "clusters.create": ("dataproc.clusters.create", "iam.serviceAccounts.actAs"),
    "clusters.get": ("dataproc.clusters.get",),
    "clusters.list": ("dataproc.clusters.list",),
    "clusters.delete": ("dataproc.clusters.delete",),
    "dataprocOperations.get": ("dataproc.operations.get",),
    "projects.testIamPermissions": (),  # who asks may be anybody
}
AZURE_VERBS = {"PUT": "write", "PATCH": "write", "GET": "read", "HEAD": "read", "DELETE": "delete"}
JOINED = {  # what a resource of this kind names in its body, and has to be let join to
    "microsoft.network/networkinterfaces": (
        ("networkSecurityGroup", "Microsoft.Network/networkSecurityGroups/join/action"),
        ("subnet", "Microsoft.Network/virtualNetworks/subnets/join/action"),
        ("publicIPAddress", "Microsoft.Network/publicIPAddresses/join/action"),
    ),
    "microsoft.compute/virtualmachines": (
        ("networkInterfaces", "Microsoft.Network/networkInterfaces/join/action"),
        ("userAssignedIdentities", "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"),
        ("managedDisk", "Microsoft.Compute/disks/write"),
        ("capacityReservationGroup", "Microsoft.Compute/capacityReservationGroups/deploy/action"),
    ),
}


def aws_needs(service: str, action: str, parameters: Mapping[str, str]) -> Iterator[str]:
    """Those of a call of one of AWS's query or JSON services."""
    if f"{service}:{action}" not in FREE:
        yield f"{service}:{action}"
    if action in ("RunInstances", "CreateSecurityGroup") and any(n.startswith("TagSpecification") for n in parameters):
        yield "ec2:CreateTags"
    if action == "RunJobFlow":
        yield "elasticmapreduce:AddTags"
    if action == "RunJobFlow" or any(name.startswith("IamInstanceProfile") for name in parameters):
        yield "iam:PassRole"


def gcp_needs(action: str, public: bool, account: bool) -> Iterator[str]:
    """Those of a method; whether a machine is to get an address, and a service account, of its own."""
    yield from GOOGLE[action]
    if action == "instances.insert" and public:
        yield "compute.subnetworks.useExternalIp"
    if action == "instances.insert" and account:
        yield from ("compute.instances.setServiceAccount", "iam.serviceAccounts.actAs")


def azure_needs(method: str, path: str, kind: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Those of a call about a resource of ``kind``, or without one about groups and the subscription."""
    parts = path.strip("/").split("/")
    if not kind.strip("/"):
        listed = len(parts) == 3 and parts[2].lower() == "resources"
        on = "Microsoft.Resources/subscriptions/" + ("resources" if listed else "resourceGroups")
        yield f"{on}/{AZURE_VERBS[method]}"
    elif parts[2].lower() == "providers" and "/" not in kind:
        yield f"{kind}/register/action" if method == "POST" else "Microsoft.Resources/subscriptions/providers/read"
    elif "/operations" not in kind.lower():  # of them who began one may always ask
        yield f"{kind}/{parts[-1]}/action" if method == "POST" else f"{kind}/{AZURE_VERBS[method]}"
    if method == "PUT":
        yield from (action for name, action in JOINED.get(kind.lower(), ()) if _names(body, name))


def _names(body: Any, name: str) -> bool:
    """Whether a field of that name is anywhere in a body, with something in it."""
    if isinstance(body, Mapping):
        return bool(body.get(name)) or any(_names(value, name) for value in body.values())
    return isinstance(body, list) and any(_names(value, name) for value in body)
