"""The resources that the emulated Azure holds, and what their bodies say."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from sky_sandbox.accounts.quotas import FEW
from sky_sandbox.azure.types import Size, size
from sky_sandbox.azure.wire import ArmError, Body, Call
from sky_sandbox.images import images
from sky_sandbox.machines.record import Cause, Machine, Market
from sky_sandbox.world import Refused

VM = "microsoft.compute/virtualmachines"
DISK = "Microsoft.Compute/disks"
NIC = "microsoft.network/networkinterfaces"
ADDRESS = "microsoft.network/publicipaddresses"
FIREWALL = "microsoft.network/networksecuritygroups"
IDENTITY = "microsoft.managedidentity/userassignedidentities"
NETWORK = "microsoft.network/virtualnetworks"


@dataclass
class Entry:
    """One stored resource.

    Attributes:
        body: What the client put, completed as ARM does.
        machine: The world's machine behind a VM, None for other resources and for a VM that got no hardware.
        error: What the allocation of the VM fails with.
        due: When the allocation ends either way, in seconds of ``time.monotonic``.
    """

    body: Body
    machine: Machine | None = None
    error: Body | None = None
    due: float = 0.0

    @classmethod
    def put(cls, path: str, body: Body) -> Entry:
        """The resource that a request to ``path`` with ``body`` makes."""
        provider, *rest = path.split("/providers/")[1].split("/")
        named = {"id": path, "name": rest[-1], "type": "/".join([provider, *rest[::2]])}
        return cls({**body, **named, "properties": {**body.get("properties", {}), "provisioningState": "Succeeded"}})

    @property
    def type(self) -> str:
        return str(self.body["type"]).lower()

    @property
    def properties(self) -> Body:
        properties: Body = self.body["properties"]
        return properties

    def references(self) -> dict[str, Body]:
        """The resources that a VM or an interface is made of: the key of each, with the reference that names it."""
        properties = self.properties
        found = [*properties.get("networkProfile", {}).get("networkInterfaces", [])]
        configs = [config["properties"] for config in properties.get("ipConfigurations", [])]
        found += [config["publicIPAddress"] for config in configs if "publicIPAddress" in config]
        disk = properties.get("storageProfile", {}).get("osDisk", {})
        if "id" in disk.get("managedDisk", {}):
            found.append({"id": disk["managedDisk"]["id"], "deleteOption": disk.get("deleteOption", "Detach")})
        return {reference["id"].lower(): reference for reference in found}

    def owned(self) -> list[str]:
        """Keys of the resources that are deleted with this one, as its references' ``deleteOption`` says."""
        options = {
            key: reference.get("deleteOption") or reference.get("properties", {}).get("deleteOption")
            for key, reference in self.references().items()
        }
        return [key for key, option in options.items() if option == "Delete"]

    def changed_at(self) -> float | None:
        """When a VM's last operation succeeded, by the world's clock; None before the first has."""
        return None if self.machine is None else self.machine.ended_at or self.machine.ready_at

    def statuses(self) -> tuple[str, list[str]]:
        """A VM's provisioning state and the codes of its instance view.

        Codes: https://learn.microsoft.com/en-us/azure/virtual-machines/states-billing
        """
        if self.properties["provisioningState"] == "Deleting":
            return "Deleting", ["ProvisioningState/deleting"]
        if time.monotonic() < self.due:
            return "Creating", ["ProvisioningState/creating"]
        if self.error is not None:
            return "Failed", [f"ProvisioningState/failed/{self.error['code']}"]
        assert self.machine is not None, "a VM has a machine or an error"
        if self.machine.state == "pending":
            return "Creating", ["ProvisioningState/creating/OSProvisioningInProgress", "PowerState/running"]
        if self.machine.state == "running":
            return "Succeeded", ["ProvisioningState/succeeded", "PowerState/running"]
        if self.machine.cause == "failed":
            return "Failed", ["ProvisioningState/failed/OSProvisioningTimedOut", "PowerState/stopped"]
        power = "deallocat" if self.machine.cause in ("preempted", "deallocated") else "stopp"
        if self.machine.state == "stopping":
            return "Updating", ["ProvisioningState/updating", f"PowerState/{power}ing"]
        return "Succeeded", ["ProvisioningState/succeeded", f"PowerState/{power}ed"]


@dataclass(frozen=True)
class Wanted:
    """The place, size and market that a VM's request body asks for."""

    region: str
    zone: str
    size: Size
    market: Market

    @classmethod
    def parse(cls, body: Body) -> Wanted:
        """Read a request body.

        Raises:
            ArmError: if there is no such VM size.
        """
        properties = body.get("properties", {})
        name = properties.get("hardwareProfile", {}).get("vmSize", "")
        found = size(name)
        if found is None:
            raise ArmError("InvalidParameter", f"The value {name} provided for the VM size is not valid.")
        market: Market = "spot" if properties.get("priority", "").lower() == "spot" else "on-demand"
        region = str(body.get("location", "")).lower().replace(" ", "")
        zones = body.get("zones")
        return cls(region, f"{region}-{zones[0]}" if zones else region, found, market)

    def about(self) -> dict[str, str]:
        """What faults are matched against and the audit log tells."""
        return {"region": self.region, "zone": self.zone, "type": self.size.name, "market": self.market}

    def refusal(self, refused: Refused) -> ArmError:
        """How Azure words a refusal: Spot is refused at once, on-demand when allocation has been tried."""
        if refused.none:
            spot = self.market == "spot"  # which counts against one quota for all families
            which, limit = ("LowPriorityCores", FEW) if spot else (f"{self.size.name} Family Cores", 0)
            words = (
                f"Operation could not be completed as it results in exceeding approved {which} quota. "
                f"Additional details - Deployment Model: Resource Manager, Location: {self.region}, "
                f"Current Limit: {limit}, Current Usage: 0, Additional Required: {self.size.vcpus}"
            )
            return ArmError("OperationNotAllowed", words)
        if refused.why == "quota":
            code = "OperationNotAllowed"
        elif self.market == "spot":
            code = "SkuNotAvailable"
        else:
            code = "AllocationFailed" if self.zone == self.region else "ZonalAllocationFailed"
        return ArmError(code, about=self.about())


def about_call(call: Call) -> dict[str, str]:
    """What faults are matched against and the audit log tells of any call."""
    if call.action == "virtualMachines.put":
        return Wanted.parse(call.body).about()
    return {"region": call.body["location"]} if "location" in call.body else {}


def rests(machine: Entry) -> frozenset[Cause]:
    """What leaves a VM there, stopped or deallocated: all but its deletion, and an eviction that deletes."""
    causes: frozenset[Cause] = frozenset({"self", "killed", "failed", "deallocated"})
    return causes if machine.properties.get("evictionPolicy") == "Delete" else causes | {"preempted"}


def identities(machine: Entry) -> list[str]:
    """Keys of the user-assigned identities that a VM is to have."""
    return [id_.lower() for id_ in machine.body.get("identity", {}).get("userAssignedIdentities", {})]


def identify(machine: Entry, entries: Mapping[str, Entry]) -> None:
    """Complete a VM's ``identity``: https://learn.microsoft.com/rest/api/compute/virtual-machines/create-or-update"""
    told = machine.body.get("identity", {})
    if "SystemAssigned" in told.get("type", ""):
        told["principalId"] = str(uuid.uuid4())
    for id_ in told.get("userAssignedIdentities", {}):
        known = entries[id_.lower()].properties
        told["userAssignedIdentities"][id_] = {name: known[name] for name in ("principalId", "clientId")}


def principals(machine: Entry, entries: Mapping[str, Entry]) -> dict[str, str]:
    """The object id of each identity of a VM, by the key of a user-assigned one, or by "" for its own."""
    found = {key: entries[key].properties["principalId"] for key in identities(machine)}
    own = machine.body["identity"].get("principalId")
    return found | ({"": own} if own else {})


def os_disk(machine: Entry) -> Entry:
    """The OS disk of a new VM, a resource of its own that outlives the VM unless told otherwise."""
    name = f"{machine.body['name']}_OsDisk_1_{uuid.uuid4().hex}"
    path = f"{machine.body['id'].split('/providers/')[0]}/providers/{DISK}/{name}"
    asked = machine.properties["storageProfile"]["osDisk"]
    told = {**asked, "name": name, "managedDisk": {**asked.get("managedDisk", {}), "id": path}}
    machine.properties["storageProfile"] = {**machine.properties["storageProfile"], "osDisk": told}
    return Entry.put(path, {"location": machine.body["location"], "managedBy": machine.body["id"]})


def image_of(machine: Entry) -> str:
    """The URN, without its version, of the Marketplace image that a VM boots; "" for one of somebody's own."""
    reference = machine.properties.get("storageProfile", {}).get("imageReference", {})
    return ":".join(reference[part] for part in ("publisher", "offer", "sku")) if "publisher" in reference else ""


def lets_in(entries: Mapping[str, Entry], machine: str, source: str, port: int) -> bool:
    """Whether the first rule of the network security groups in a machine's resource group that speaks of TCP from
    an address to a port allows it; the default rules let nobody in."""
    inside = machine.lower().partition("/providers/")[0] + "/"
    groups = [entry for key, entry in list(entries.items()) if key.startswith(inside) and entry.type == FIREWALL]
    rules = [rule["properties"] for entry in groups for rule in entry.properties["securityRules"]]
    meant = [rule for rule in rules if _covers(rule, source, port)]
    return bool(meant) and min(meant, key=lambda rule: int(rule["priority"]))["access"] == "Allow"


def _covers(rule: Body, source: str, port: int) -> bool:
    """https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview#security-rules"""
    cidrs = [*rule.get("sourceAddressPrefixes", ()), rule.get("sourceAddressPrefix")]
    ports = [*rule.get("destinationPortRanges", ()), rule.get("destinationPortRange")]
    spans = [tuple(map(int, one.split("-"))) for one in ports if one and one != "*"]
    return (
        (rule["direction"], rule["protocol"].lower() in ("tcp", "*")) == ("Inbound", True)
        and any(cidr == "*" or ip_address(source) in ip_network(cidr) for cidr in cidrs if cidr)
        and ("*" in ports or any(ends[0] <= port <= ends[-1] for ends in spans))
    )


def network_of(config: Body) -> str:
    """Key of the network that an interface's configuration names a subnet of."""
    return str(config["subnet"]["id"]).lower().rpartition("/subnets/")[0]


def networks_held(entries: Mapping[str, Entry], group: str) -> set[str]:
    """Keys of a group's networks that cannot be deleted: interfaces of other groups are in them."""
    elsewhere = [entry for key, entry in entries.items() if entry.type == NIC and not key.startswith(f"{group}/")]
    configs = [config["properties"] for entry in elsewhere for config in entry.properties["ipConfigurations"]]
    return {network_of(config) for config in configs if "subnet" in config} & {
        key for key in entries if key.startswith(f"{group}/")
    }


def blocked(group: Body) -> Body:
    """What the deletion of a group ends with that has such a network."""
    told = f"Deletion of resource group '{group['name']}' failed as resources could not be deleted."
    return ArmError("ResourceGroupDeletionBlocked", told).body


def is_deleting(group: Body) -> bool:
    """Whether a group is on its way out."""
    return bool(group["properties"]["provisioningState"] == "Deleting")


def reject_unknown_image(machine: Entry) -> None:
    """Marketplace images are known by what their vendors document; an image of one's own is taken on trust."""
    urn = image_of(machine)
    if urn and urn not in images("azure"):
        version = machine.properties["storageProfile"]["imageReference"].get("version")
        raise ArmError("PlatformImageNotFound", f"The platform image '{urn}:{version}' is not available.")


def reject_deleting(group: Body) -> None:
    """A group that is on its way out takes nothing in."""
    if is_deleting(group):
        raise ArmError("ResourceGroupBeingDeleted", f"The resource group '{group['name']}' is in deprovisioning state.")
