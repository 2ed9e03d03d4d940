"""What stands around a cluster's machines on Azure: its firewall, its network, the addresses and interfaces.

All of it is in the cluster's resource group and goes with it, but for what the settings name of one's own, and for the
network of machines that are made beside another cluster: it is that one's, whose group cannot go before theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sky_core.clouds.at_once import at_once
from sky_core.clouds.azure import bodies
from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.caller import sources
from sky_core.config import CloudConfig
from sky_core.networks import Network

API = "2024-05-01"


class Surroundings:
    """Makes them by the generic client, and lets this machine in.

    Args:
        resources: Operations of azure-mgmt-resource on resources of any type.
        id_: From a group's name to its id.
    """

    def __init__(self, config: CloudConfig, resources: Any, id_: Callable[[str], str]) -> None:
        self._config, self._resources, self._id = config, resources, id_

    def make(self, request: LaunchRequest, names: Sequence[str]) -> None:
        """The firewall, the network and the addresses, then the interfaces."""
        token, own = request.token, self._config.network.at(request.region)
        firewall = self._path(token, "networkSecurityGroups", "firewall")
        network = self._path(request.beside or token, "virtualNetworks", "network")
        foundations: dict[str, bodies.Body] = {}
        if own.security_group is None:
            allowed = sources(self._config, request.region)
            foundations[firewall] = bodies.firewall(request, allowed, self._config.ssh_port)
        if own.subnet is None and not request.beside:
            foundations[network] = bodies.network(request)
        addresses = {name: self._path(token, "publicIPAddresses", name) for name in names if own.public_addresses}
        foundations |= {address: bodies.address(request) for address in addresses.values()}
        self._put_all(foundations.items())
        subnet = own.subnet or f"{network}/subnets/machines"
        group = own.security_group or firewall
        self._put_all(
            (self.interface(token, name), bodies.interface(request, subnet, group, addresses.get(name)))
            for name in names
        )

    def let_in(self, group: Any) -> None:
        """Let this machine in to the cluster of a resource group, and where it was before no more."""
        own: Network = self._config.network.at(group.location)
        if own.security_group is not None:
            return
        path = self._path(group.name, "networkSecurityGroups", "firewall")
        there: Any = self._resources.get_by_id(path, api_version=API)
        rules: list[Mapping[str, Any]] = there.properties["securityRules"]
        wanted = list(sources(self._config, group.location))
        if [rule["properties"].get("sourceAddressPrefixes") for rule in rules] != [wanted]:
            renewed = [
                {**rule, "properties": {**rule["properties"], "sourceAddressPrefixes": wanted}} for rule in rules
            ]
            body = {"location": group.location, "tags": there.tags, "properties": {"securityRules": renewed}}
            self._put((path, body))

    def interface(self, group: str, name: str) -> str:
        """Id of a machine's network interface."""
        return self._path(group, "networkInterfaces", name)

    def _path(self, group: str, kind: str, name: str) -> str:
        return f"{self._id(group)}/providers/Microsoft.Network/{kind}/{name}"

    def _put_all(self, resources: Iterable[tuple[str, bodies.Body]]) -> None:
        at_once(self._put, list(resources))

    def _put(self, resource: tuple[str, bodies.Body]) -> None:
        id_, body = resource
        self._resources.begin_create_or_update_by_id(id_, body, api_version=API).result()
