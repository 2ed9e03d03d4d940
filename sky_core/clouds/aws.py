"""Amazon Web Services: EC2 instances, found by tag, and an S3 bucket per region.

Instances are named ``region/i-…``. One security group per region lets SSH in from this machine and the group's own
machines talk to each other. Needs a default VPC in each region used, as new accounts have.
"""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from sky_core.clouds.aws_errors import LOGIN, sorted_errors
from sky_core.clouds.aws_images import parameters
from sky_core.clouds.base import TAG_OWNER, Instance, LaunchRequest, State, Storage
from sky_core.clouds.caller import public_address
from sky_core.clouds.userdata import cloud_config
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, InvalidRequest, Throttled, UnknownOutcome

Json = dict[str, Any]
HOME_REGION = "us-east-1"  # for calls that are the same everywhere; also S3's default
GROUP = "skyloom"
# One attempt: EC2 answers "no capacity" with HTTP 500, which botocore would retry for seconds. Launches are repeated
# by us instead, with the same ClientToken.
ONCE = Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=60)
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=10, read_timeout=60)
LAUNCH_ATTEMPTS = 4
SETTLING_S = 60.0  # EC2 is eventually consistent: a new instance may be unknown to it for a while
STATES: Mapping[str, State] = {
    "pending": "pending",
    "running": "running",
    "shutting-down": "stopping",
    "stopping": "stopping",
    "stopped": "stopping",  # its disk still costs money
    "terminated": "gone",
}
PREEMPTED = frozenset({"Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"})
FILTER_VALUES = 200  # as many values as EC2 takes in one filter


class Aws:
    """AWS as the settings reach it: the SDK's default credential chain, or the sandbox's endpoint and credentials."""

    name = "aws"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        secrets = {name: secret.get_secret_value() for name, secret in config.credentials.items()}
        with sorted_errors():
            self._session = boto3.Session(
                aws_access_key_id=secrets.get("access_key_id"),
                aws_secret_access_key=secrets.get("secret_access_key"),
            )
        self._lock = threading.Lock()  # boto3 sessions must not be shared among threads, clients may
        self._clients: dict[tuple[str, str, Config], Any] = {}
        self._images: dict[tuple[str, str], Json] = {}  # (region, AMI) -> description
        self._opened: dict[tuple[str, tuple[int, ...], str], str] = {}  # (region, ports, from where) -> group
        self._buckets: dict[str, Storage] = {}
        self._fresh: dict[str, tuple[float, Instance]] = {}  # what we launched, and when (monotonic seconds)
        self._account = config.account

    # --- the contract ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Ask who we are."""
        with sorted_errors():
            self._account = self._client("sts", HOME_REGION).get_caller_identity()["Account"]

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """RunInstances for the whole gang: EC2 launches all or none, and once per ``ClientToken``."""
        with sorted_errors():
            image = self._image(request)
            group = self._security_group(request.region, request.ports)
        body = _run_instances(request, image, group, cloud_config(request, self.config.ssh_user))
        retrying = Retrying(
            retry=retry_if_exception_type((Throttled, UnknownOutcome)),
            wait=wait_random_exponential(multiplier=0.5, max=5),
            stop=stop_after_attempt(LAUNCH_ATTEMPTS),
            reraise=True,
        )
        reply: Json = retrying(self._run, request.region, body)
        machines = sorted(reply["Instances"], key=lambda machine: machine.get("AmiLaunchIndex", 0))
        instances = [_instance(request.region, machine) for machine in machines]
        self._fresh |= {instance.id: (time.monotonic(), instance) for instance in instances}
        return instances

    def find(self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None) -> list[Instance]:
        """DescribeInstances by tag, in all regions at once."""
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
        filters.append({"Name": "instance-state-name", "Values": [name for name in STATES if STATES[name] != "gone"]})
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda region: list(self._describe(region, filters)), regions or self._regions())
            return [instance for instances in found for instance in instances]

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """DescribeInstances by id; the order of ``ids`` is kept."""
        known: dict[str, Instance] = {}
        for region, names in _by_region(ids).items():
            for start in range(0, len(names), FILTER_VALUES):
                # As a filter, since one unknown id among InstanceIds fails the whole call.
                filters = [{"Name": "instance-id", "Values": names[start : start + FILTER_VALUES]}]
                known |= {instance.id: instance for instance in self._describe(region, filters)}
        return [known.get(id_) or self._unknown(id_) for id_ in ids]

    def terminate(self, ids: Sequence[str]) -> None:
        """TerminateInstances; disks and interfaces go with their instance."""
        alive = [instance.id for instance in self.describe(ids) if instance.state != "gone"]
        for region, names in _by_region(alive).items():
            with sorted_errors():
                self._client("ec2", region).terminate_instances(InstanceIds=names)

    def storage(self, region: str) -> Storage:
        """The bucket ``<prefix>-<region>``; new buckets are private and encrypted by AWS's own defaults."""
        if region not in self._buckets:
            bucket = f"{self.config.bucket_prefix or f'skyloom-{self._account_id()}'}-{region}"
            with sorted_errors():
                self._create_bucket(bucket, region)
            self._buckets[region] = Storage(f"s3://{bucket}", region)
        return self._buckets[region]

    def storage_options(self) -> Mapping[str, Any]:
        """s3fs options with the credentials as they are now, also for machines that have none of their own."""
        with sorted_errors():
            credentials = self._session.get_credentials()
            if credentials is None:
                raise AuthError("AWS: no credentials", cure=LOGIN)
            frozen = credentials.get_frozen_credentials()
        options = {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
        if self.config.storage_endpoint:
            options["endpoint_url"] = self.config.storage_endpoint
        return {name: value for name, value in options.items() if value is not None}

    def _unknown(self, id_: str) -> Instance:
        """An instance that EC2 does not know: not yet, just after its launch, or no longer, an hour after its end."""
        launched_at, instance = self._fresh.get(id_, (-math.inf, _forgotten(id_)))
        return instance if time.monotonic() - launched_at < SETTLING_S else _forgotten(id_)

    # --- calls -----------------------------------------------------------------------------------------------

    def _client(self, service: str, region: str, config: Config = PATIENT) -> Any:
        with self._lock:
            key = (service, region, config)
            if key not in self._clients:
                endpoint = self.config.storage_endpoint if service == "s3" else self.config.endpoint
                self._clients[key] = self._session.client(
                    service, region_name=region, endpoint_url=endpoint, config=config
                )
            return self._clients[key]

    def _run(self, region: str, body: Json) -> Json:
        with sorted_errors():
            reply: Json = self._client("ec2", region, ONCE).run_instances(**body)
        return reply

    def _describe(self, region: str, filters: list[Json]) -> Iterator[Instance]:
        with sorted_errors():
            pages = self._client("ec2", region).get_paginator("describe_instances").paginate(Filters=filters)
            for page in pages:
                for reservation in page["Reservations"]:
                    for machine in reservation["Instances"]:
                        yield _instance(region, machine)

    def _regions(self) -> list[str]:
        """The regions that this account may use."""
        with sorted_errors():
            regions = self._client("ec2", HOME_REGION).describe_regions()["Regions"]
        return [region["RegionName"] for region in regions]

    def _account_id(self) -> str:
        if self._account is None:
            self.check()
        return str(self._account)

    def _image(self, request: LaunchRequest) -> Json:
        """Description of the AMI to boot.

        Raises:
            InvalidRequest: if there is none.
        """
        region, wanted = request.region, request.image
        if wanted is None:
            names = parameters(request.arch, request.accelerator)
        elif wanted.startswith("/"):
            names = (wanted,)
        else:
            return self._describe_image(region, wanted)
        for name in names:
            try:
                found = self._client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"]
            except ClientError as error:
                if error.response["Error"]["Code"] != "ParameterNotFound":
                    raise
            else:
                return self._describe_image(region, found)
        raise InvalidRequest(
            f"{region} has no image {' or '.join(names)}", cure="set Resources.image to the id of an AMI of that region"
        )

    def _describe_image(self, region: str, image: str) -> Json:
        if (region, image) not in self._images:
            images = self._client("ec2", region).describe_images(ImageIds=[image])["Images"]
            if not images:
                raise InvalidRequest(
                    f"{region} has no image {image}", cure="set Resources.image to an AMI of that region"
                )
            self._images[region, image] = images[0]
        return self._images[region, image]

    def _security_group(self, region: str, ports: tuple[int, ...]) -> str:
        """The group that lets SSH and ``ports`` in from this machine, and the group's machines talk to each other."""
        caller = "127.0.0.1" if self.config.endpoint else public_address()
        key = (region, ports, caller)
        if key not in self._opened:
            name = "-".join([GROUP, *map(str, sorted(ports))])
            group = self._find_group(region, name) or self._create_group(region, name)
            among_themselves = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
            self._allow(region, group, among_themselves)
            for port in (self.config.ssh_port, *ports):
                source = [{"CidrIp": f"{caller}/32", "Description": "skyloom"}]
                self._allow(region, group, {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": source})
            self._opened[key] = group
        return self._opened[key]

    def _find_group(self, region: str, name: str) -> str | None:
        vpc = self._default_vpc(region)
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        groups = self._client("ec2", region).describe_security_groups(Filters=filters)["SecurityGroups"]
        return groups[0]["GroupId"] if groups else None

    def _create_group(self, region: str, name: str) -> str:
        try:
            group: str = self._client("ec2", region).create_security_group(
                GroupName=name,
                Description="Machines of Skyloom",
                VpcId=self._default_vpc(region),
                TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": TAG_OWNER, "Value": "shared"}]}],
            )["GroupId"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidGroup.Duplicate":
                raise
            group = self._find_group(region, name) or ""  # another process was faster
        return group

    def _allow(self, region: str, group: str, permission: Json) -> None:
        try:
            self._client("ec2", region).authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
                raise

    def _default_vpc(self, region: str) -> str:
        filters = [{"Name": "is-default", "Values": ["true"]}]
        vpcs = self._client("ec2", region).describe_vpcs(Filters=filters)["Vpcs"]
        if not vpcs:
            cure = f"make one: aws ec2 create-default-vpc --region {region}"
            raise InvalidRequest(f"{region} has no default VPC", cure=cure)
        return str(vpcs[0]["VpcId"])

    def _create_bucket(self, bucket: str, region: str) -> None:
        place = {} if region == HOME_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._client("s3", region).create_bucket(Bucket=bucket, **place)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "BucketAlreadyExists":
                cure = "set another bucket_prefix in [clouds.aws] of config.toml"
                raise InvalidRequest(f"the bucket {bucket} belongs to somebody else", code=code, cure=cure) from error
            if code != "BucketAlreadyOwnedByYou":
                raise


def _run_instances(request: LaunchRequest, image: Json, group: str, user_data: str) -> Json:
    """The body of RunInstances."""
    tags = [{"Key": name, "Value": value} for name, value in {"Name": request.token, **request.tags}.items()]
    snapshot = max((mapping.get("Ebs", {}).get("VolumeSize", 0) for mapping in image["BlockDeviceMappings"]), default=0)
    disk = {"VolumeSize": max(request.disk_gib, snapshot), "VolumeType": "gp3", "DeleteOnTermination": True}
    body: Json = {
        "ClientToken": request.token,
        "ImageId": image["ImageId"],
        "InstanceType": request.instance_type,
        "MinCount": request.num_nodes,
        "MaxCount": request.num_nodes,
        "UserData": user_data,
        "SecurityGroupIds": [group],
        "BlockDeviceMappings": [{"DeviceName": image["RootDeviceName"], "Ebs": disk}],
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume")],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 2},
    }
    if request.zone is not None:
        body["Placement"] = {"AvailabilityZone": request.zone}
    if request.use_spot:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        body["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return body


def _instance(region: str, machine: Json) -> Instance:
    reason = machine.get("StateReason", {}).get("Code", "")
    launched_at = machine.get("LaunchTime")
    return Instance(
        id=f"{region}/{machine['InstanceId']}",
        cloud="aws",
        region=region,
        zone=machine.get("Placement", {}).get("AvailabilityZone"),
        instance_type=machine["InstanceType"],
        use_spot=machine.get("InstanceLifecycle") == "spot",
        state=STATES[machine["State"]["Name"]],
        ip=machine.get("PublicIpAddress") or None,
        private_ip=machine.get("PrivateIpAddress") or None,
        launched_at=launched_at.timestamp() if launched_at else None,
        tags={tag["Key"]: tag["Value"] for tag in machine.get("Tags", ())},
        reason=reason,
        preempted=reason in PREEMPTED,
    )


def _forgotten(id_: str) -> Instance:
    region = id_.partition("/")[0]
    return Instance(id=id_, cloud="aws", region=region, zone=None, instance_type="", use_spot=False, state="gone")


def _by_region(ids: Sequence[str]) -> dict[str, list[str]]:
    """Instance names by region.

    Raises:
        InvalidRequest: for an id that is not ``region/i-…``.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for id_ in ids:
        region, slash, name = id_.partition("/")
        if not slash:
            raise InvalidRequest(f"{id_!r} is not an instance of ours: ids look like us-east-1/i-0123456789abcdef0")
        names[region].append(name)
    return names
