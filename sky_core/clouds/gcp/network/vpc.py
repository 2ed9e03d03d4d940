"""Which network machines on Google Cloud are in: one of their own project, or one that a host project shares with it.

Shared VPC: https://cloud.google.com/vpc/docs/shared-vpc. Networks, subnetworks and firewall rules are the host's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sky_core.config import CloudConfig
from sky_core.errors import NoWayIn, Scope, of_its_own

NAMED = re.compile(r"^(?:(?:projects/)?(?P<host>[a-z][a-z0-9.:-]*)/)?(?:global/networks/)?(?P<name>[a-z][a-z0-9-]*)$")
DEFAULT = "default"


@dataclass(frozen=True)
class Vpc:
    """A network in one region, by the paths that Compute Engine's bodies name it by.

    Attributes:
        project: The project that it, and its firewall rules, are in.
        shared: Whether that is another one than the machines'.
        name, network: Its name and its path.
        subnetwork: The path of the subnetwork of the settings; "" for the region's own.
        tags: Network tags of machines beside ours.
        ruled: Whether firewall rules of ours are made there.
        public: Whether machines get public addresses.
    """

    project: str
    shared: bool
    name: str
    network: str
    subnetwork: str
    tags: tuple[str, ...]
    ruled: bool
    public: bool

    @property
    def named(self) -> bool:
        """Whether it is another than the one that every API takes if none is named."""
        return self.shared or self.name != DEFAULT

    @property
    def full(self) -> str:
        """Its path with the project, as the APIs of services want it."""
        return f"projects/{self.project}/global/networks/{self.name}"


def vpc(config: CloudConfig, project: str, region: str) -> Vpc:
    """The network of the settings.

    Raises:
        NoWayIn: naming the setting that cannot be meant.
    """
    own = config.network.at(region)
    scope: Scope = "region" if region in config.network.regions else "cloud"
    parts = NAMED.match(own.vpc or DEFAULT)
    if parts is None:
        said = f"network.vpc: {own.vpc!r} is no network: its name, or HOST-PROJECT/NAME"
        raise of_its_own(NoWayIn(said, scope=scope))
    host, name = parts["host"] or project, parts["name"]
    shared = host != project
    if shared and own.subnet is None:
        said = f"network.subnet: {own.vpc} is another project's; name a subnetwork of it"
        raise of_its_own(NoWayIn(said, scope=scope))
    subnet = own.subnet or ""
    if subnet and "/" not in subnet:
        subnet = f"projects/{host}/regions/{region}/subnetworks/{subnet}"
    network = f"projects/{host}/global/networks/{name}" if shared else f"global/networks/{name}"
    return Vpc(host, shared, name, network, subnet, own.network_tags, own.manage_firewall, own.public_addresses)
