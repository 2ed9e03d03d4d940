"""The security groups of our machines on AWS: one per region and set of ports, in the default VPC."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from sky_core.clouds.aws.session import Session
from sky_core.clouds.base import TAG_OWNER
from sky_core.clouds.caller import public_address
from sky_core.config import CloudConfig
from sky_core.errors import InvalidRequest

Json = dict[str, Any]
GROUP = "skyloom"
SHARED = "shared"  # the owner of what all stores of an account use together


class Network:
    """Who may reach our machines."""

    def __init__(self, config: CloudConfig, session: Session) -> None:
        self._config, self._session = config, session
        self._opened: dict[tuple[str, tuple[int, ...], str], str] = {}  # (region, ports, from where) -> group

    def group(self, region: str, ports: tuple[int, ...]) -> str:
        """The group that lets SSH and ``ports`` in from this machine, and the group's machines talk to each other."""
        caller = "127.0.0.1" if self._config.endpoint else public_address()
        key = (region, ports, caller)
        if key not in self._opened:
            name = "-".join([GROUP, *map(str, sorted(ports))])
            group = self._find(region, name) or self._create(region, name)
            among_themselves = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
            self._allow(region, group, among_themselves)
            for port in (self._config.ssh_port, *ports):
                source = [{"CidrIp": f"{caller}/32", "Description": "skyloom"}]
                self._allow(region, group, {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": source})
            self._opened[key] = group
        return self._opened[key]

    def forget(self) -> None:
        """Look again for groups that were known: one was deleted."""
        self._opened.clear()

    def _find(self, region: str, name: str) -> str | None:
        vpc = self._default_vpc(region)
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        groups = self._client(region).describe_security_groups(Filters=filters)["SecurityGroups"]
        return groups[0]["GroupId"] if groups else None

    def _create(self, region: str, name: str) -> str:
        try:
            group: str = self._client(region).create_security_group(
                GroupName=name,
                Description="Machines of Skyloom",
                VpcId=self._default_vpc(region),
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

    def _default_vpc(self, region: str) -> str:
        filters = [{"Name": "is-default", "Values": ["true"]}]
        vpcs = self._client(region).describe_vpcs(Filters=filters)["Vpcs"]
        if not vpcs:
            cure = f"make one: aws ec2 create-default-vpc --region {region}"
            raise InvalidRequest(f"{region} has no default VPC", cure=cure)
        return str(vpcs[0]["VpcId"])

    def _client(self, region: str) -> Any:
        return self._session.client("ec2", region)
