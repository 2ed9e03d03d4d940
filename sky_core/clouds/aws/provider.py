"""Amazon Web Services: EC2 instances, found by tag, and an S3 bucket per region.

Instances are named ``region/i-…``; clusters of EMR are in :mod:`.emr`. One security group per region lets SSH in from
this machine and the group's own machines talk to each other. Needs a default VPC in each region used, as new accounts
have.
"""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from sky_core.clouds.aws import bodies, emr
from sky_core.clouds.aws import leftovers as aws_leftovers
from sky_core.clouds.aws.account.quotas import Quotas
from sky_core.clouds.aws.errors import LOGIN
from sky_core.clouds.aws.images import parameters
from sky_core.clouds.aws.lending import lend
from sky_core.clouds.aws.network import Network
from sky_core.clouds.aws.reservations import Reservations
from sky_core.clouds.aws.session import HOME_REGION, ONCE, Session
from sky_core.clouds.base import (
    REFUSALS,
    TAG_CLUSTER,
    Cloud,
    Found,
    Instance,
    LaunchRequest,
    Leftover,
    Leftovers,
    Loan,
    Reach,
    Storage,
    whole_gang,
)
from sky_core.clouds.reservations import aimed
from sky_core.clouds.userdata import cloud_config
from sky_core.config import CloudConfig
from sky_core.errors import AuthError, CloudError, InvalidRequest, Throttled, UnknownOutcome
from sky_core.facts.managed import is_managed

Json = dict[str, Any]
log = logging.getLogger(__name__)

LAUNCH_ATTEMPTS = 4
SETTLE_S = 120.0  # EC2 is eventually consistent: a new instance may be unknown to it for a minute, and a call take one
LIVE = {"Name": "instance-state-name", "Values": [name for name, state in bodies.STATES.items() if state != "gone"]}
FILTER_VALUES = 200  # as many values as EC2 takes in one filter


class Aws:
    """AWS as the settings reach it: the SDK's default credential chain, or the sandbox's endpoint and credentials."""

    name = "aws"

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self.settle_s = SETTLE_S if config.settle_s is None else config.settle_s
        self._session = Session(config)
        self._network = Network(config, self._session)
        self._quotas = Quotas(self._session)
        self._reservations = Reservations(self._session)
        self._emr = emr.Emr(config, self._session, self._network)
        self._images: dict[tuple[str, str], Json] = {}  # (region, AMI) -> description
        self._buckets: dict[str, Storage] = {}
        self._fresh: dict[str, tuple[float, Instance]] = {}  # what we launched, and when (monotonic seconds)
        self._unclear: set[str] = set()  # tokens of calls of which nobody knows what they did

    # --- the contract ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Ask who we are."""
        self._session.identify()

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """RunInstances for the whole gang: EC2 launches all or none, and once per ``ClientToken``."""
        if is_managed(request.instance_type):
            return [replace(i, armed="machine" if request.switch else "none") for i in self._emr.launch(request)]
        try:
            with aimed(request):
                instances = self._ask(request)
        except REFUSALS as refusal:
            unclear = request.asked_before or request.token in self._unclear
            instances = self._made_before(request, refusal) if unclear else []
            if not instances:
                raise
        self._unclear.discard(request.token)
        self._fresh |= {instance.id: (time.monotonic(), instance) for instance in instances}
        # Powering off terminates: to do so is all that the machine's timer needs to be able to.
        return [replace(instance, armed="machine" if request.switch else "none") for instance in instances]

    def _ask(self, request: LaunchRequest) -> list[Instance]:
        if request.accelerator and request.reservation is None:  # what is reserved has its quota
            self._quotas.refuse_none(request.region, request.instance_type, request.use_spot)
        with self._session.errors(request.region):
            image = self._image(request)
            interface = self._network.interface(request.region, request.zone, request.ports)
        body = bodies.run_instances(request, image, interface, cloud_config(request, self.config.ssh_user))
        if request.reservation is not None:
            body |= self._reservations.target(request.region, request.reservation)
        if self.config.machine_identity:
            body["IamInstanceProfile"] = {"Name": self.config.machine_identity}
        retrying = Retrying(
            retry=retry_if_exception_type((Throttled, UnknownOutcome)),
            wait=wait_random_exponential(multiplier=0.5, max=5),
            stop=stop_after_attempt(LAUNCH_ATTEMPTS),
            reraise=True,
        )
        reply: Json = retrying(self._run, request.region, body)
        machines = sorted(reply["Instances"], key=lambda machine: machine.get("AmiLaunchIndex", 0))
        return [bodies.instance(request.region, machine) for machine in machines]

    def _made_before(self, request: LaunchRequest, refusal: CloudError) -> list[Instance]:
        """The gang that an earlier call with this token made, if it is whole; what is left of one is ended.

        The refusal is marked as not settled: EC2 may show only later what it has made.
        """
        refusal.settled = False
        filters = [{"Name": "client-token", "Values": [request.token]}, LIVE]
        try:
            there = [i for i in self._describe(request.region, filters) if i.instance_type == request.instance_type]
            if whole_gang(there, request):
                return there
            self.terminate([instance.id for instance in there])
        except CloudError as error:
            log.warning("%s: what an earlier call made could not be ended: %s", request.token, error)
        return []

    def find(
        self, tags: Mapping[str, str], *, regions: Sequence[str] | None = None, instance_type: str | None = None
    ) -> Found:
        """DescribeInstances by tag, in all regions at once.

        What belongs to a cluster of EMR tells of the cluster, which has its machines only a while after its launch. Who
        looks for a cluster by its type and token is told by EMR itself.
        """
        if instance_type is not None and is_managed(instance_type):
            name = tags.get(TAG_CLUSTER, "")
            clusters = self._session.each_region(
                lambda region: self._emr.find(tags, region, instance_type, name), regions
            )
            return Found(tuple(instance for found in clusters.values() for instance in found), clusters.refused)
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
        if instance_type is not None:
            filters.append({"Name": "instance-type", "Values": [instance_type]})
        looks = self._session.each_region(
            lambda region: emr.collapsed(self._describe(region, [*filters, LIVE])), regions
        )
        return Found(tuple(instance for found in looks.values() for instance in found), looks.refused)

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """DescribeInstances by id; the order of ``ids`` is kept."""
        known = {i.id: i for i in self._emr.describe([id_ for id_ in ids if emr.is_cluster(id_)])}
        for region, names in _by_region(id_ for id_ in ids if not emr.is_cluster(id_)).items():
            for start in range(0, len(names), FILTER_VALUES):
                # As a filter, since one unknown id among InstanceIds fails the whole call.
                filters = [{"Name": "instance-id", "Values": names[start : start + FILTER_VALUES]}]
                known |= {instance.id: instance for instance in self._describe(region, filters)}
        return [known.get(id_) or self._unknown(id_) for id_ in ids]

    def terminate(self, ids: Sequence[str]) -> None:
        """TerminateInstances; disks and interfaces go with their instance."""
        self._emr.terminate([id_ for id_ in ids if emr.is_cluster(id_)])
        machines = self.describe([id_ for id_ in ids if not emr.is_cluster(id_)])
        alive = [instance.id for instance in machines if instance.state != "gone"]
        for region, names in _by_region(alive).items():
            with self._session.errors(region):
                self._session.client("ec2", region).terminate_instances(InstanceIds=names)

    def let_in(self, ids: Sequence[str]) -> None:
        """See :meth:`Gated.let_in`."""
        for region in _by_region(ids):
            with self._session.errors(region):
                self._network.let_in(region)

    def leftovers(self, tags: Mapping[str, str]) -> Leftovers:
        """See :mod:`sky_core.clouds.aws.leftovers`."""
        return aws_leftovers.leftovers(self._session, tags, self._bucket_prefix())

    def remove(self, leftover: Leftover) -> None:
        """Delete a volume, an interface or a security group."""
        aws_leftovers.remove(self._session, leftover)
        self._network.forget()

    def _bucket_prefix(self) -> str:
        return self.config.bucket_prefix or f"skyloom-{self._session.account()}"

    def bucket(self, region: str) -> str:
        """The name of the region's bucket, whether it is there or not."""
        return f"{self._bucket_prefix()}-{region}"

    def storage(self, region: str) -> Storage:
        """The region's bucket; new buckets are private and encrypted by AWS's own defaults."""
        if region not in self._buckets:
            bucket = self.bucket(region)
            with self._session.errors(region):
                self._create_bucket(bucket, region)
            self._buckets[region] = Storage(f"s3://{bucket}", region)
        return self._buckets[region]

    def storage_options(self) -> Mapping[str, Any]:
        """s3fs options with the credentials as they are now, also for machines that have none of their own."""
        frozen = self._session.credentials()
        if frozen is None:
            raise AuthError("AWS: no credentials", cure=LOGIN)
        options = {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
        if self.config.storage_endpoint:
            options["endpoint_url"] = self.config.storage_endpoint
        return {name: value for name, value in options.items() if value is not None}

    def lend(self, reaches: Sequence[Reach], machine: str) -> Loan:
        """See :mod:`sky_core.clouds.aws.lending`. An instance profile of the settings needs none."""
        place = {"endpoint_url": self.config.storage_endpoint} if self.config.storage_endpoint else {}
        if self.config.machine_identity and machine == self.name:
            return Loan(place)
        loan = lend(self._session, self.config.machine_role, self.config.lent_h, reaches)
        return Loan({**loan.options, **place}, loan.ends_at)

    def _unknown(self, id_: str) -> Instance:
        """An instance that EC2 does not know: not yet, just after its launch, or no longer, an hour after its end."""
        launched_at, instance = self._fresh.get(id_, (-math.inf, bodies.forgotten(id_)))
        return replace(instance, seen=False) if time.monotonic() - launched_at < SETTLE_S else bodies.forgotten(id_)

    # --- calls -----------------------------------------------------------------------------------------------

    def _run(self, region: str, body: Json) -> Json:
        try:
            with self._session.errors(region):
                reply: Json = self._session.client("ec2", region, ONCE).run_instances(**body)
        except UnknownOutcome:
            self._unclear.add(body["ClientToken"])
            raise
        return reply

    def _describe(self, region: str, filters: list[Json]) -> Iterator[Instance]:
        with self._session.errors(region):
            pages = self._session.client("ec2", region).get_paginator("describe_instances").paginate(Filters=filters)
            for page in pages:
                for reservation in page["Reservations"]:
                    for machine in reservation["Instances"]:
                        yield bodies.instance(region, machine)

    def _image(self, request: LaunchRequest) -> Json:
        """Description of the AMI to boot.

        Raises:
            InvalidRequest: if there is none.
        """
        region, wanted = request.region, request.image
        if wanted is None:
            names = parameters(request.arch, request.accelerator, request.instance_type)
        elif wanted.startswith("/"):
            names = (wanted,)
        else:
            return self._describe_image(region, wanted)
        for name in names:
            if found := self._parameter(region, name):
                return self._describe_image(region, found)
        # A public image that the home region has not got is nowhere: no need to ask region by region.
        nowhere = wanted is None and (region == HOME_REGION or not any(self._parameter(HOME_REGION, n) for n in names))
        raise InvalidRequest(
            f"{'AWS' if nowhere else region} has no image {' or '.join(names)}",
            scope="type" if nowhere else "region",
            cure="set Resources.image to the id of an AMI of that region",
        )

    def _parameter(self, region: str, name: str) -> str | None:
        """What a region's public parameter says, or None if it has none of that name."""
        try:
            return str(self._session.client("ssm", region).get_parameter(Name=name)["Parameter"]["Value"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "ParameterNotFound":
                raise
            return None

    def _describe_image(self, region: str, image: str) -> Json:
        if (region, image) not in self._images:
            images = self._session.client("ec2", region).describe_images(ImageIds=[image])["Images"]
            if not images:
                raise InvalidRequest(
                    f"{region} has no image {image}", cure="set Resources.image to an AMI of that region"
                )
            self._images[region, image] = images[0]
        return self._images[region, image]

    def _create_bucket(self, bucket: str, region: str) -> None:
        place = {} if region == HOME_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._session.client("s3", region).create_bucket(Bucket=bucket, **place)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "BucketAlreadyExists":
                cure = "set another bucket_prefix in [clouds.aws] of config.toml"
                raise InvalidRequest(f"the bucket {bucket} belongs to somebody else", code=code, cure=cure) from error
            if code != "BucketAlreadyOwnedByYou":
                raise


def _by_region(ids: Iterable[str]) -> dict[str, list[str]]:
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


if TYPE_CHECKING:
    _keeps_the_contract: type[Cloud] = Aws
