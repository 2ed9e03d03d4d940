"""Azure behind the contract of :mod:`sky_core.clouds.base`.

A cluster is one resource group, named after its token: its machines with their disks, interfaces and addresses are in
it, and deleting it deletes all. Every resource in it is made by a PUT under its own name, which makes asking twice
harmless.

Machines go through azure-mgmt-compute. Everything else goes through azure-mgmt-resource's generic client:
azure-mgmt-network would cost the driver another 140 MB of memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from sky_core.clouds import azure_bodies as bodies
from sky_core.clouds.azure_errors import cloud_errors, refusal
from sky_core.clouds.base import Instance, LaunchRequest, State, Storage
from sky_core.clouds.caller import public_address
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, CloudError

NETWORK_API = "2024-05-01"
FORCE = "Microsoft.Compute/virtualMachines"  # do not wait for the guest to shut down
POWER: Mapping[str, State] = {"running": "running", "starting": "pending"}


class StaticToken:
    """The sandbox's credential: one token that never expires."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        """What older clients ask."""
        return AccessToken(self._token, int(time.time()) + 3600)

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """What newer clients ask."""
        return AccessTokenInfo(self._token, int(time.time()) + 3600)


class Azure:
    """Azure as the settings reach it: DefaultAzureCredential, or the sandbox's endpoint and token."""

    name = "azure"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        subscription = config.account or os.environ.get("AZURE_SUBSCRIPTION_ID")
        if not subscription:
            raise AuthError("Azure: no subscription", cure="set account in [clouds.azure] of config.toml")
        self.subscription = subscription
        reach: dict[str, Any] = {"polling_interval": config.min_poll_s}
        if config.endpoint:
            reach |= {"base_url": config.endpoint, "connection_verify": str(config.ca_file) if config.ca_file else True}
        token = config.credentials.get("token")
        credential: Any = StaticToken(token.get_secret_value()) if token else DefaultAzureCredential()
        self._compute = ComputeManagementClient(credential, subscription, **reach)
        self._resources = ResourceManagementClient(credential, subscription, **reach)
        self._containers: dict[str, Storage] = {}

    def check(self) -> None:
        """List resource groups: the cheapest call that needs a working login and a role."""
        with cloud_errors():
            next(iter(self._resources.resource_groups.list(top=1)), None)

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Make the group, its network and its machines; if one is refused, the whole group is deleted again."""
        zoned = bool(bodies.zones(request))
        group = request.token
        names = [group if request.num_nodes == 1 else f"{group}-{index}" for index in range(request.num_nodes)]
        try:
            with cloud_errors(zoned=zoned):
                body = {"location": request.region, "tags": dict(request.tags)}
                self._resources.resource_groups.create_or_update(group, body)
                subnet, firewall = self._network(request)
                with ThreadPoolExecutor(8) as pool:
                    list(pool.map(lambda name: self._machine(request, name, subnet, firewall), names))
        except CloudError:
            self._delete_group(group)
            raise
        return self.describe([self._machine_id(group, name) for name in names])

    def _network(self, request: LaunchRequest) -> tuple[str, str]:
        """Ids of the gang's subnet and its firewall."""
        source = "127.0.0.1" if self.config.endpoint else public_address()
        firewall = self._put(request, "networkSecurityGroups/caller", bodies.firewall(request, source))
        network = self._put(request, "virtualNetworks/gang", bodies.network(request))
        return f"{network}/subnets/machines", firewall

    def _machine(self, request: LaunchRequest, name: str, subnet: str, firewall: str) -> None:
        address = self._put(request, f"publicIPAddresses/{name}", bodies.address(request))
        interface = self._put(
            request, f"networkInterfaces/{name}", bodies.interface(request, subnet, firewall, address)
        )
        body = bodies.machine(request, name, interface, self.config.ssh_user)
        with _late_failures(zoned=bool(bodies.zones(request))):
            content: Any = body  # the SDK's types know models only, its code takes their JSON as well
            self._compute.virtual_machines.begin_create_or_update(request.token, name, content).result()

    def _put(self, request: LaunchRequest, path: str, body: bodies.Body) -> str:
        id_ = f"{self._group_id(request.token)}/providers/Microsoft.Network/{path}"
        self._resources.resources.begin_create_or_update_by_id(id_, body, api_version=NETWORK_API).result()
        return id_

    def find(self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None) -> list[Instance]:
        """Machines in the groups with these tags. A group without any, left by an interrupted launch, counts as one."""
        with cloud_errors():
            key, value = next(iter(tags.items()))
            query = f"tagName eq '{key}' and tagValue eq '{value}'"
            groups = [
                group
                for group in self._resources.resource_groups.list(filter=query)
                if tags.items() <= (group.tags or {}).items() and (regions is None or group.location in regions)
            ]
            found: list[Instance] = []
            for group in groups:
                machines = self._machines_of(str(group.name))
                found += machines or [self._describe_group(str(group.id))]
        return [instance for instance in found if instance.state != "gone"]

    def _machines_of(self, group: str) -> list[Instance]:
        with suppress(ResourceNotFoundError):
            return [
                self._describe(self._machine_id(group, str(vm.name)))
                for vm in self._compute.virtual_machines.list(group)
            ]
        return []

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Each machine as it is; one that is not there any more is gone."""
        with cloud_errors():
            return [self._describe(id_) if "/virtualMachines/" in id_ else self._describe_group(id_) for id_ in ids]

    def _describe(self, id_: str) -> Instance:
        group, name = _group_and_name(id_)
        try:
            vm = self._compute.virtual_machines.get(group, name, expand="instanceView")
        except ResourceNotFoundError:
            return self._gone(id_)
        codes = [status.code or "" for status in (vm.instance_view.statuses or [] if vm.instance_view else [])]
        power = next((code.partition("/")[2] for code in codes if code.startswith("PowerState/")), "starting")
        state = POWER.get(power, "stopping")
        if vm.provisioning_state == "Deleting":
            state = "stopping"
        elif vm.provisioning_state == "Creating":
            state = "pending"
        return Instance(
            id=id_,
            cloud="azure",
            region=vm.location,
            zone=f"{vm.location}-{vm.zones[0]}" if vm.zones else None,
            instance_type=vm.hardware_profile.vm_size or "",
            use_spot=vm.priority == "Spot",
            state=state,
            ip=self._address(group, name) if state == "running" else None,
            launched_at=vm.time_created.timestamp() if vm.time_created else None,
            tags=dict(vm.tags or {}),
            reason="" if state == "running" else power,
        )

    def _address(self, group: str, name: str) -> str | None:
        id_ = f"{self._group_id(group)}/providers/Microsoft.Network/publicIPAddresses/{name}"
        with suppress(ResourceNotFoundError):
            found = self._resources.resources.get_by_id(id_, api_version=NETWORK_API)
            return (found.properties or {}).get("ipAddress")
        return None

    def _gone(self, id_: str) -> Instance:
        """A machine that vanished while its group is still there was evicted; we delete groups, never machines."""
        group = self._describe_group(self._group_id(_group_and_name(id_)[0]))
        evicted = group.state == "pending"
        return Instance(
            id=id_, cloud="azure", region=group.region, zone=None, instance_type="", use_spot=evicted, state="gone",
            reason="evicted" if evicted else "deleted", preempted=evicted,
        )  # fmt: skip

    def _describe_group(self, id_: str) -> Instance:
        """A resource group as if it were a machine: pending while it is there."""
        region, tags = "", dict[str, str]()
        state: State = "gone"
        with suppress(ResourceNotFoundError):
            group = self._resources.resource_groups.get(id_.rsplit("/", 1)[-1])
            deleting = group.properties is not None and group.properties.provisioning_state == "Deleting"
            region, tags = group.location, dict(group.tags or {})
            state = "stopping" if deleting else "pending"
        return Instance(
            id=id_, cloud="azure", region=region, zone=None, instance_type="", use_spot=False, state=state, tags=tags,
        )  # fmt: skip

    def terminate(self, ids: Sequence[str]) -> None:
        """Begin the deletion of the machines' groups, without waiting for the guests to shut down."""
        for group in dict.fromkeys(_group_and_name(id_)[0] for id_ in ids):
            self._delete_group(group)

    def _delete_group(self, group: str) -> None:
        with cloud_errors(), suppress(ResourceNotFoundError):
            if self._describe_group(self._group_id(group)).state == "pending":
                self._resources.resource_groups.begin_delete(group, force_deletion_types=FORCE, polling=False)

    def storage(self, region: str) -> Storage:
        """The container ``<prefix>-<region>`` of the settings' storage account."""
        if region not in self._containers:
            import fsspec

            container = f"{self.config.bucket_prefix or 'skyloom'}-{region}"
            filesystem = fsspec.filesystem("abfs", **self.storage_options())
            with cloud_errors(), suppress(FileExistsError, ResourceExistsError):
                if not filesystem.exists(container):
                    filesystem.mkdir(container)
            self._containers[region] = Storage(f"abfs://{container}", region)
        return self._containers[region]

    def storage_options(self) -> Mapping[str, Any]:
        """adlfs options: DefaultAzureCredential on Azure, the emulator's connection string in the sandbox.

        Raises:
            AuthError: if no storage account is set.
        """
        account = self.config.storage_account
        if not account:
            raise AuthError("Azure: no storage account", cure="set storage_account in [clouds.azure] of config.toml")
        if self.config.storage_endpoint:
            key = "c2FuZGJveA=="  # any key does: the emulator does not check it
            endpoint = f"{self.config.storage_endpoint}/{account}"
            return {
                "connection_string": f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
                f"BlobEndpoint={endpoint};"
            }
        return {"account_name": account, "anon": False}

    def _group_id(self, group: str) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}"

    def _machine_id(self, group: str, name: str) -> str:
        return f"{self._group_id(group)}/providers/Microsoft.Compute/virtualMachines/{name}"


@contextmanager
def _late_failures(*, zoned: bool) -> Iterator[None]:
    """A creation that was accepted and failed later arrives as status 200 with the reason in its body."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code is not None and error.status_code < 300:
            code = (error.error.code if error.error else None) or ""
            message = (error.error.message if error.error else None) or str(error)
            raise refusal(code, message, zoned=zoned) from error
        raise


def _group_and_name(id_: str) -> tuple[str, str]:
    parts = id_.split("/")
    return parts[4], parts[-1]
