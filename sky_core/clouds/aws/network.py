"""The security groups of our machines on AWS: one per region, network and set of ports, unless one is named.

A rule says in its description which host it lets in. When that host is seen at another address, its new one is let in
and its old one no more; hosts that share an account leave each other's rules alone, unless they are old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from sky_core.clouds.aws.errors import NETWORK
from sky_core.clouds.aws.session import Session
from sky_core.clouds.base import TAG_OWNER
from sky_core.clouds.caller import sources
from sky_core.clouds.marks import is_mine, is_over, mark, turn
from sky_core.config import CloudConfig
from sky_core.errors import NotSetUp
from sky_core.networks import Network as Own

Json = dict[str, Any]
GROUP = "skyloom"
SHARED = "shared"  # the owner of what all stores of an account use together


class Network:
    """Who may reach our machines."""

    def __init__(self, config: CloudConfig, session: Session) -> None:
        self._config, self._session = config, session
        self._opened: dict[tuple[object, ...], str] = {}  # (region, ports, from, turn) -> group
        self._subnets: dict[str, dict[str, str]] = {}  # region -> zone -> one's own subnet there

    def interface(self, region: str, zone: str | None, ports: tuple[int, ...]) -> Json:
        """What RunInstances says of a machine's network: security groups, or an interface in a subnet of one's own.

        Raises:
            NotSetUp: if there are subnets of one's own, and none in the zone, or they are not of one network.
        """
        own, subnet, group = self._config.network.at(region), self.subnet(region, zone), self.group(region, ports)
        if subnet is None and own.public_addresses:
            return {"SecurityGroupIds": [group]}
        about: Json = {"DeviceIndex": 0, "Groups": [group], "AssociatePublicIpAddress": own.public_addresses}
        return {"NetworkInterfaces": [{**about, **({"SubnetId": subnet} if subnet else {})}]}

    def subnet(self, region: str, zone: str | None) -> str | None:
        """One's own subnet in a zone, the first for any zone; None where the default network serves."""
        if not (named := _named(self._config.network.at(region))):
            return None
        if region not in self._subnets:
            found = self._client(region).describe_subnets(SubnetIds=list(named))["Subnets"]
            _refuse_apart(region, {subnet["SubnetId"]: subnet["VpcId"] for subnet in found} | self._stated(region))
            by_id = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in found}
            self._subnets[region] = {by_id[name]: name for name in reversed(named)}
        there = self._subnets[region]
        if zone is None:
            return named[0]
        if zone not in there:
            cure = "name one there as well, in subnets of [clouds.aws.network] of config.toml"
            why = f"{zone}: the subnets of the settings are in {', '.join(sorted(there))}"
            raise NotSetUp(why, scope="zone", code="NoSubnet", cure=cure)
        return there[zone]

    def check(self, region: str) -> str:
        """The network that machines would be in.

        Raises:
            NotSetUp: if there is none, or the settings name parts of several.
        """
        self.subnet(region, None)
        return self._vpc(region)

    def _stated(self, region: str) -> dict[str, str]:
        """The networks of what else the settings name in a region, by what it is."""
        own, stated = self._config.network.at(region), dict[str, str]()
        if own.vpc is not None:
            stated["vpc"] = own.vpc
        if named := own.security_group:
            [group] = self._client(region).describe_security_groups(GroupIds=[named])["SecurityGroups"]
            stated[named] = group["VpcId"]
        return stated

    def group(self, region: str, ports: tuple[int, ...]) -> str:
        """The group that lets SSH and ``ports`` in from this machine, and the group's machines talk to each other."""
        if named := self._config.network.at(region).security_group:
            return named
        allowed = sources(self._config, region)
        key = (region, ports, allowed, turn())
        if key not in self._opened:
            name = "-".join([GROUP, *map(str, sorted(ports))])
            group = self._find(region, name) or self._create(region, name)
            among_themselves = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
            self._allow(region, group, among_themselves)
            self._close(region, group, lambda description, _: is_mine(description) and description != mark())
            for port in (self._config.ssh_port, *ports):
                self._open(region, group, port, allowed)
            self._opened[key] = group
        return self._opened[key]

    def let_in(self, region: str) -> None:
        """Let this machine in where it is now, through all of the region's groups of ours, and where it was no more."""
        if self._config.network.at(region).security_group:
            return
        allowed = sources(self._config, region)
        filters = [{"Name": f"tag:{TAG_OWNER}", "Values": [SHARED]}, {"Name": "vpc-id", "Values": [self._vpc(region)]}]
        for group in self._client(region).describe_security_groups(Filters=filters)["SecurityGroups"]:
            ports = {rule["FromPort"] for rule in group["IpPermissions"] if rule["IpProtocol"] == "tcp"}
            self._close(region, group["GroupId"], lambda who, source: is_mine(who) and source not in allowed)
            for port in ports:
                self._open(region, group["GroupId"], port, allowed)

    def forget(self) -> None:
        """Look again for groups that were known: one was deleted."""
        self._opened.clear()
        self._subnets.clear()

    def _close(self, region: str, group: str, is_stale: Callable[[str, str], bool]) -> None:
        """Take out rules by their description and address, and those of hosts that are gone."""
        [there] = self._client(region).describe_security_groups(GroupIds=[group])["SecurityGroups"]
        stale = [rule for who, source, rule in _rules_of(there) if is_over(who) or is_stale(who, source)]
        try:
            if stale:
                self._client(region).revoke_security_group_ingress(GroupId=group, IpPermissions=stale)
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidPermission.NotFound":  # another host was faster
                raise

    def _open(self, region: str, group: str, port: int, allowed: Sequence[str]) -> None:
        for source in allowed:
            ranges = [{"CidrIp": source, "Description": mark()}]
            self._allow(region, group, {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges})

    def _find(self, region: str, name: str) -> str | None:
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [self._vpc(region)]}]
        groups = self._client(region).describe_security_groups(Filters=filters)["SecurityGroups"]
        return groups[0]["GroupId"] if groups else None

    def _create(self, region: str, name: str) -> str:
        try:
            group: str = self._client(region).create_security_group(
                GroupName=name,
                Description="Machines of Skyloom",
                VpcId=self._vpc(region),
                TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": TAG_OWNER, "Value": SHARED}]}],
            )["GroupId"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidGroup.Duplicate":
                raise
            group = self._find(region, name) or ""  # another process was faster
        return group

    def _allow(self, region: str, group: str, permission: Json) -> None:
        try:
            self._client(region).authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
                raise

    def _vpc(self, region: str) -> str:
        own = self._config.network.at(region)
        if own.vpc is not None:
            return own.vpc
        if named := _named(own):
            return str(self._client(region).describe_subnets(SubnetIds=[named[0]])["Subnets"][0]["VpcId"])
        filters = [{"Name": "is-default", "Values": ["true"]}]
        vpcs = self._client(region).describe_vpcs(Filters=filters)["Vpcs"]
        if not vpcs:
            raise NotSetUp(f"{region} has no default VPC", scope="region", code="VPCIdNotSpecified", cure=NETWORK)
        return str(vpcs[0]["VpcId"])

    def _client(self, region: str) -> Any:
        return self._session.client("ec2", region)


def _named(own: Own) -> tuple[str, ...]:
    return own.subnets or ((own.subnet,) if own.subnet else ())


def _refuse_apart(region: str, networks: Mapping[str, str]) -> None:
    """Refuse what is not in one network: EC2 takes no interface whose group and subnet are in two."""
    if len(set(networks.values())) > 1:
        there = ", ".join(f"{name} in {vpc}" for name, vpc in networks.items())
        cure = "name subnets and a security group of one VPC in [clouds.aws.network] of config.toml"
        raise NotSetUp(f"{region}: the settings name parts of several networks: {there}", scope="region",
                       code="NetworksApart", cure=cure)  # fmt: skip


def _rules_of(group: Json) -> Iterator[tuple[str, str, Json]]:
    """Description, address and rule of what lets hosts of ours in, one for each port and address."""
    for rule in group["IpPermissions"]:
        for source in rule.get("IpRanges", ()):
            who = source.get("Description", "")
            if who.startswith("skyloom "):
                about = {name: rule[name] for name in ("IpProtocol", "FromPort", "ToPort")}
                yield who, source["CidrIp"], {**about, "IpRanges": [source]}
