"""What Azure is told of a cluster: the request bodies of its machines and their network. Pure functions.

Body formats: https://learn.microsoft.com/en-us/rest/api/compute/virtual-machines/create-or-update and
https://learn.microsoft.com/en-us/rest/api/virtualnetwork/.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

from sky_core.clouds.azure import images
from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.userdata import cloud_config
from sky_core.errors import InvalidRequest

Body = dict[str, Any]

# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/compute#virtual-machine-contributor
VM_CONTRIBUTOR = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"
# The machines' own, below their resource group: by this name :mod:`~sky_core.remote.agent.host.clouds.azure` asks
# for its token.
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities/switch"


def zones(request: LaunchRequest) -> list[str]:
    """Azure's names of the request's zone: ``["1"]`` for ``eastus-1``, none where only the region is asked for."""
    if request.zone in (None, request.region):
        return []
    return [str(request.zone).removeprefix(f"{request.region}-")]


def image(request: LaunchRequest) -> Body:
    """The image reference: what was asked for (a URN or a resource id), or one fit for the machine.

    Raises:
        InvalidRequest: if the image asked for is neither.
    """
    name = request.image or images.default_image(request)
    if name.startswith("/"):
        shared = re.match(r"^/(CommunityGalleries|SharedGalleries)/", name, re.IGNORECASE)
        if shared is None:
            return {"id": name}
        kind = "communityGalleryImageId" if shared[1].lower() == "communitygalleries" else "sharedGalleryImageId"
        return {kind: name}
    parts = name.split(":")
    if len(parts) != 4:
        raise InvalidRequest(
            f"image: {name!r} is not an Azure image", cure="write publisher:offer:sku:version or a resource id"
        )
    return dict(zip(("publisher", "offer", "sku", "version"), parts, strict=True))


def firewall(request: LaunchRequest, sources: Sequence[str], ssh_port: int) -> Body:
    """Network security group: SSH and the task's ports from ``sources`` only; the default rules join the gang."""
    ports = [str(ssh_port), *(str(port) for port in request.ports if port != ssh_port)]
    rule = {
        "protocol": "Tcp",
        "direction": "Inbound",
        "access": "Allow",
        "priority": 1000,
        "sourceAddressPrefixes": list(sources),
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRanges": ports,
    }
    return _located(request, {"securityRules": [{"name": "caller", "properties": rule}]})


def network(request: LaunchRequest) -> Body:
    subnet = {"name": "machines", "properties": {"addressPrefix": "10.77.0.0/16"}}
    return _located(request, {"addressSpace": {"addressPrefixes": ["10.77.0.0/16"]}, "subnets": [subnet]})


def address(request: LaunchRequest) -> Body:
    body = _located(request, {"publicIPAllocationMethod": "Static", "deleteOption": "Delete"})
    return body | {"sku": {"name": "Standard"}}


def interface(request: LaunchRequest, subnet: str, firewall: str, address: str | None) -> Body:
    """Network interface on these resources (ids); its address, if it has a public one, goes when it goes."""
    config: Body = {"subnet": {"id": subnet}, "privateIPAllocationMethod": "Dynamic"}
    if address is not None:
        config["publicIPAddress"] = {"id": address, "properties": {"deleteOption": "Delete"}}
    properties = {
        "networkSecurityGroup": {"id": firewall},
        "ipConfigurations": [{"name": "primary", "properties": config}],
    }
    return _located(request, properties)


def machine(request: LaunchRequest, name: str, interface: str, user: str, identities: Sequence[str]) -> Body:
    """Virtual machine with this network interface and these identities (ids); disk and interface go when it goes."""
    disk: Body = {"storageAccountType": "StandardSSD_LRS"}  # every size takes it; Premium only those with an "s"
    properties: Body = {
        "hardwareProfile": {"vmSize": request.instance_type},
        "storageProfile": {
            "imageReference": image(request),
            "osDisk": {
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "diskSizeGB": images.disk_gib(request),
                "managedDisk": disk,
            },
        },
        "osProfile": _login(request, name, user),
        "networkProfile": {
            "networkInterfaces": [{"id": interface, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
    }
    if request.use_spot:
        # maxPrice -1: never evicted for its price, which is capped at the on-demand one.
        properties |= {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}
    if request.reservation is not None:
        # https://learn.microsoft.com/azure/virtual-machines/capacity-reservation-associate-vm
        properties["capacityReservation"] = {"capacityReservationGroup": {"id": request.reservation}}
    if images.needs_nvme(request.instance_type):
        properties["storageProfile"]["diskControllerType"] = "NVMe"
    if images.CONFIDENTIAL_VM.match(request.instance_type):
        properties["securityProfile"] = {
            "securityType": "ConfidentialVM",
            "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
        }
        disk["securityProfile"] = {"securityEncryptionType": "VMGuestStateOnly"}
    body = _located(request, properties)
    if zones(request):
        body["zones"] = zones(request)
    if identities:
        body["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {one: {} for one in identities}}
    return body


def identity(request: LaunchRequest) -> Body:
    """User-assigned managed identity."""
    return {"location": request.region, "tags": dict(request.tags)}


def role(principal: str, subscription: str) -> Body:
    """Role assignment that lets a machine's identity (its object id) end machines in the scope it is put in."""
    definition = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{VM_CONTRIBUTOR}"
    return {
        "properties": {"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal"}
    }


def _login(request: LaunchRequest, name: str, user: str) -> Body:
    key = {"path": f"/home/{user}/.ssh/authorized_keys", "keyData": request.authorized_key}
    return {
        "computerName": name,
        "adminUsername": user,
        "linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": {"publicKeys": [key]}},
        "customData": base64.b64encode(cloud_config(request, user).encode()).decode(),
    }


def _located(request: LaunchRequest, properties: Body) -> Body:
    return {"location": request.region, "tags": dict(request.tags), "properties": properties}
