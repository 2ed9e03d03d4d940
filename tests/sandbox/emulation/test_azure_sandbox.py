"""The emulated Resource Manager and its certificate, through Azure's own typed clients, without our provider."""

from __future__ import annotations

import itertools
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from sky_sandbox.azure.types import size
from sky_sandbox.tls import make_certificates
from tests.conftest import Sandbox, until

POLL = {"polling_interval": 0.05}
numbers = itertools.count()


class Login:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("sandbox", int(time.time()) + 3600)


class Clients:
    """The three SDKs and a resource group of the test's own."""

    def __init__(self, sandbox: Sandbox, group: str) -> None:
        config = sandbox.settings.clouds["azure"]
        reach = {"base_url": config.endpoint, "connection_verify": str(config.ca_file), **POLL}
        login, subscription = Login(), str(config.account)
        self.machines = ComputeManagementClient(login, subscription, **reach).virtual_machines
        self.disks = ComputeManagementClient(login, subscription, **reach).disks
        self.network = NetworkManagementClient(login, subscription, **reach)
        self.groups = ResourceManagementClient(login, subscription, **reach).resource_groups
        self.group = group
        self.groups.create_or_update(group, {"location": "eastus", "tags": {"for": group}})

    def interface(self) -> Any:
        subnet = {"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}
        space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
        network = self.network.virtual_networks.begin_create_or_update(
            self.group, "net", {"location": "eastus", "properties": space}
        ).result()
        address = self.network.public_ip_addresses.begin_create_or_update(
            self.group, "ip", {"location": "eastus", "properties": {"publicIPAllocationMethod": "Static"}}
        ).result()
        config = {
            "subnet": {"id": network.subnets[0].id},
            "publicIPAddress": {"id": address.id, "properties": {"deleteOption": "Delete"}},
        }
        return self.network.network_interfaces.begin_create_or_update(
            self.group,
            "nic",
            {"location": "eastus", "properties": {"ipConfigurations": [{"name": "c", "properties": config}]}},
        ).result()

    def machine(self, name: str, **properties: Any) -> Any:
        reference = {"id": self.interface().id, "properties": {"deleteOption": "Delete"}}
        body = {
            "hardwareProfile": {"vmSize": "Standard_D2s_v5"},
            "storageProfile": {"osDisk": {"createOption": "FromImage", "deleteOption": "Delete"}},
            "osProfile": {"computerName": name, "adminUsername": "skyloom"},
            "networkProfile": {"networkInterfaces": [reference]},
            **properties,
        }
        return self.machines.begin_create_or_update(
            self.group, name, {"location": "eastus", "zones": ["1"], "properties": body}
        )


@pytest.fixture
def clients(sandbox: Sandbox) -> Clients:
    return Clients(sandbox, f"typed-{next(numbers)}")


def test_a_machine_and_all_that_belongs_to_it(clients: Clients) -> None:
    made = clients.machine("box").result()
    assert (made.provisioning_state, made.zones) == ("Succeeded", ["1"])
    view = clients.machines.get(clients.group, "box", expand="instanceView").instance_view
    assert view is not None
    assert [status.code for status in view.statuses or []] == ["ProvisioningState/succeeded", "PowerState/running"]
    address = clients.network.public_ip_addresses.get(clients.group, "ip").ip_address
    assert address.startswith("127.77.")
    with pytest.raises(HttpResponseError) as used:
        clients.network.network_interfaces.begin_delete(clients.group, "nic")
    assert used.value.error is not None
    assert used.value.error.code == "NicInUse"
    clients.machines.begin_delete(clients.group, "box").result()
    assert list(clients.machines.list(clients.group)) == []
    assert list(clients.disks.list_by_resource_group(clients.group)) == []
    assert list(clients.network.public_ip_addresses.list(clients.group)) == []
    assert [n.name for n in clients.network.virtual_networks.list(clients.group)] == ["net"]


def test_subscription_wide_lists_shout_the_group(clients: Clients) -> None:
    clients.machine("box").result()
    found = [str(vm.id) for vm in clients.machines.list_all() if clients.group in str(vm.id).lower()]
    assert [id_.split("/")[4] for id_ in found] == [clients.group.upper()]


def test_a_failed_allocation_leaves_the_machine_behind(sandbox: Sandbox, clients: Clients) -> None:
    sandbox.control.capacity("eastus-1", "Standard_D2s_v5", "on-demand", 0)
    with pytest.raises(HttpResponseError) as failed:
        clients.machine("box").result()
    assert failed.value.error is not None
    assert failed.value.error.code == "ZonalAllocationFailed"
    assert clients.machines.get(clients.group, "box").provisioning_state == "Failed"
    assert [nic.name for nic in clients.network.network_interfaces.list(clients.group)] == ["nic"]


def test_an_evicted_spot_machine_is_no_longer_there(clients: Clients) -> None:
    clients.machine("box", priority="Spot", evictionPolicy="Delete", billingProfile={"maxPrice": -1}).result()
    clients.machines.simulate_eviction(clients.group, "box")

    def gone() -> bool:
        try:
            clients.machines.get(clients.group, "box")
        except ResourceNotFoundError:
            return True
        return False

    assert until(gone)


def test_groups_are_found_by_tag_and_take_everything_along(sandbox: Sandbox, clients: Clients) -> None:
    clients.machine("box").result()
    query = f"tagName eq 'for' and tagValue eq '{clients.group}'"
    assert [group.name for group in clients.groups.list(filter=query)] == [clients.group]
    clients.groups.begin_delete(clients.group).result()
    assert clients.groups.check_existence(clients.group) is False
    assert not [name for name in sandbox.live() if clients.group in name]


def test_only_who_trusts_the_authority_connects(sandbox: Sandbox, tmp_path: Path) -> None:
    config = sandbox.settings.clouds["azure"]
    other = make_certificates(tmp_path)
    assert stat.S_IMODE(other.key.stat().st_mode) == 0o600
    client = ResourceManagementClient(
        Login(), str(config.account), base_url=config.endpoint, connection_verify=str(other.ca), retry_total=0
    )
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        list(client.resource_groups.list())


@pytest.mark.parametrize(
    ("name", "vcpus", "pools"),
    [
        ("Standard_D2s_v5", 2, ()),
        ("Standard_E16-4s_v5", 4, ()),
        ("Standard_NC24rs_v3", 24, ("V100", "V100:4")),
        ("Standard_NC16as_T4_v3", 16, ("T4", "T4:1")),
        ("Standard_NC64as_T4_v3", 64, ("T4", "T4:4")),
        ("Standard_ND96amsr_A100_v4", 96, ("A100-80GB", "A100-80GB:8")),
        ("Standard_NC80adis_H100_v5", 80, ("H100", "H100:2")),
    ],
)
def test_sizes(name: str, vcpus: int, pools: tuple[str, ...]) -> None:
    found = size(name)
    assert found is not None
    assert (found.vcpus, found.pools) == (vcpus, pools)


def test_no_size() -> None:
    assert size("m5.large") is None
