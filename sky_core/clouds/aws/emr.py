"""Amazon EMR: a cluster with Spark, of which the first machine is one of ours.

A step, which EMR runs on that machine, lets us log in and lasts for as long as somebody needs the cluster. When it
ends, so does the cluster: EMR ends clusters that have no steps left. Our agent runs the task's command there, beside
the step, so that it is followed, cancelled and taken up again as on any machine; ``spark-submit`` spreads it over the
others.

Clusters are named ``region/emr/j-…``. The API knows no token: a cluster of a request's token is looked for by its name.
https://docs.aws.amazon.com/emr/latest/APIReference/API_RunJobFlow.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sky_core.clouds.aws.network import Network
from sky_core.clouds.aws.session import ONCE, Session
from sky_core.clouds.base import Instance, LaunchRequest, State
from sky_core.clouds.userdata import taken_over
from sky_core.config import CloudConfig
from sky_core.errors import (
    AuthError,
    CapacityError,
    CloudError,
    InvalidRequest,
    NotSetUp,
    QuotaError,
    UnknownOutcome,
    of_its_own,
)
from sky_core.facts.aws import FACTS
from sky_core.facts.managed import EMR, parts

Json = dict[str, Any]

KIND = "emr"  # in the ids of clusters
FLOW_TAG = "aws:elasticmapreduce:job-flow-id"  # of an instance that belongs to a cluster
OURS_TAG = "skyloom-type"  # what was asked for, by our name
# AmazonElasticMapReduceServicePolicy_v2 lets EMR use only what carries it.
LET_TAG = ("for-use-with-amazon-emr-managed-policies", "true")
ROLE, PROFILE = "EMR_DefaultRole", "EMR_EC2_DefaultRole"
ROLES = "once for the account: aws emr create-default-roles"
MOST_TEXT = 10_240  # characters that a step may have
LOOK_BACK = timedelta(days=2)  # a token is not used for longer
ROOT_GIB = (15, 100)
STATES: Mapping[str, State] = {
    "STARTING": "pending",
    "BOOTSTRAPPING": "pending",
    "RUNNING": "running",
    "WAITING": "running",
    "TERMINATING": "stopping",
    "TERMINATED": "gone",
    "TERMINATED_WITH_ERRORS": "gone",
}


def is_cluster(id_: str) -> bool:
    """Whether an id is a cluster's."""
    return f"/{KIND}/" in id_


def cluster_id(region: str, flow: str) -> str:
    """The id of a cluster that EMR calls ``j-…``."""
    return f"{region}/{KIND}/{flow}"


class Emr:
    """Clusters of EMR in all regions, each told as its first machine. Thread-safe."""

    def __init__(self, config: CloudConfig, session: Session, network: Network) -> None:
        self._config, self._session, self._network = config, session, network
        self._unclear: set[str] = set()  # tokens of calls of which nobody knows what they did

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """RunJobFlow, unless there is a cluster of that name."""
        service = FACTS.service(request.instance_type)
        if service is None:
            offered = ", ".join(EMR.releases)
            raise InvalidRequest(f"EMR has no release {parts(request.instance_type)[0]!r}: {offered}", scope="type")
        known = not (request.asked_before or request.token in self._unclear)
        if there := [] if known else self._named(request):
            return there
        with self._session.errors(request.region):
            body = _run_job_flow(request, self._placed(request), self._config)
        try:
            with self._session.errors(request.region):
                flow = self._client(request.region, once=True).run_job_flow(**body)["JobFlowId"]
        except UnknownOutcome:
            self._unclear.add(request.token)
            raise
        except (AuthError, InvalidRequest) as error:
            raise _refusal(error) from error
        self._unclear.discard(request.token)
        return self.describe([cluster_id(request.region, flow)])

    def _named(self, request: LaunchRequest) -> list[Instance]:
        """The cluster that an earlier call with this token made.

        Raises:
            CapacityError: if that has ended: a token makes one cluster.
        """
        there = [i for i in self._listed(request.region, request.token) if i.tags.items() >= request.tags.items()]
        if there and all(instance.state == "gone" for instance in there):
            raise of_its_own(CapacityError(f"the cluster {request.token} has ended", scope="zone"))
        return [instance for instance in there if instance.state != "gone"][:1]

    def find(self, tags: Mapping[str, str], region: str, instance_type: str, name: str) -> list[Instance]:
        """Clusters of that name, type and tags that have not ended."""
        return [
            instance
            for instance in self._listed(region, name)
            if instance.state != "gone"
            and instance.instance_type == instance_type
            and tags.items() <= instance.tags.items()
        ]

    def _listed(self, region: str, name: str) -> list[Instance]:
        with self._session.errors(region):
            pages = (
                self._client(region).get_paginator("list_clusters").paginate(CreatedAfter=datetime.now(UTC) - LOOK_BACK)
            )
            flows = [flow["Id"] for page in pages for flow in page["Clusters"] if flow["Name"] == name]
        return self.describe([cluster_id(region, flow) for flow in flows])

    def describe(self, ids: Sequence[str]) -> list[Instance]:
        """Each cluster as its first machine, in the order of the ids; one that EMR no longer knows is gone."""
        return [self._described(*_split(id_)) for id_ in ids]

    def _described(self, region: str, flow: str) -> Instance:
        client = self._client(region)
        try:
            with self._session.errors(region):
                cluster: Json = client.describe_cluster(ClusterId=flow)["Cluster"]
                state = STATES.get(cluster["Status"]["State"], "pending")
                machines: list[Json] = []
                if state == "running":
                    machines = client.list_instances(ClusterId=flow, InstanceGroupTypes=["MASTER"])["Instances"]
        except InvalidRequest as error:
            if "is not valid" not in str(error):  # EMR's words for an id that it does not know, or no longer
                raise
            return _forgotten(region, flow)
        return _instance(region, cluster, state, machines[0] if machines else {})

    def terminate(self, ids: Sequence[str]) -> None:
        """TerminateJobFlows, of those that have not ended."""
        for instance in self.describe(ids):
            if instance.state in ("pending", "running"):
                region, flow = _split(instance.id)
                with self._session.errors(region):
                    self._client(region).terminate_job_flows(JobFlowIds=[flow])

    def _placed(self, request: LaunchRequest) -> Json:
        """Where RunJobFlow puts the machines, and who may reach the first one."""
        subnet = self._network.subnet(request.region, request.zone)
        place: Json = {"AdditionalMasterSecurityGroups": [self._network.group(request.region, ())]}
        if subnet is not None:
            return {**place, "Ec2SubnetId": subnet}
        return {**place, "Placement": {"AvailabilityZone": request.zone}} if request.zone else place

    def _client(self, region: str, *, once: bool = False) -> Any:
        return self._session.client("emr", region, ONCE) if once else self._session.client("emr", region)


def collapsed(instances: Iterator[Instance]) -> list[Instance]:
    """Machines of one cluster as the cluster, once; all others as they are."""
    return list({instance.id: instance for instance in instances}.values())


def _run_job_flow(request: LaunchRequest, place: Json, config: CloudConfig) -> Json:
    """The body of RunJobFlow."""
    release, machine = parts(request.instance_type)
    script = taken_over(request, EMR.user)
    if len(script) > MOST_TEXT:
        raise InvalidRequest(f"a step of EMR takes {MOST_TEXT} characters at most, this one has {len(script)}")
    disk = {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": request.disk_gib}, "VolumesPerInstance": 1}
    groups = [("MASTER", 1), *([("CORE", request.num_nodes - 1)] if request.num_nodes > 1 else [])]
    tags = {"Name": request.token, OURS_TAG: request.instance_type, **request.tags, LET_TAG[0]: LET_TAG[1]}
    return {
        "Name": request.token,
        "ReleaseLabel": release,
        "Applications": [{"Name": "Spark"}],
        "ServiceRole": ROLE,
        "JobFlowRole": config.machine_identity or PROFILE,
        "VisibleToAllUsers": True,
        "EbsRootVolumeSize": min(max(request.disk_gib, ROOT_GIB[0]), ROOT_GIB[1]),
        "Tags": [{"Key": name, "Value": value} for name, value in tags.items()],
        "Instances": {
            **place,
            "KeepJobFlowAliveWhenNoSteps": False,
            "TerminationProtected": False,
            "InstanceGroups": [
                {
                    "Name": role.lower(),
                    "InstanceRole": role,
                    "Market": "ON_DEMAND",
                    "InstanceType": machine,
                    "InstanceCount": count,
                    "EbsConfiguration": {"EbsBlockDeviceConfigs": [disk]},
                }
                for role, count in groups
            ],
        },
        "Steps": [
            {
                "Name": "skyloom",
                "ActionOnFailure": "TERMINATE_CLUSTER",
                "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["bash", "-c", script]},
            }
        ],
    }


def _refusal(error: AuthError | InvalidRequest) -> CloudError:
    """What is wrong with a request that EMR does not take: most often the account has never used it.

    Who may not use EMR may use EC2 all the same.
    """
    text = str(error)
    if error.code.startswith("AccessDenied"):
        return AuthError(
            text, scope="type", code=error.code, cure="grant what docs/permissions.md has of managed Spark"
        )
    if isinstance(error, AuthError):
        return error
    if any(name in text for name in (ROLE, PROFILE, "InstanceProfile", "ServiceRole")):
        return NotSetUp(text, scope="type", code=error.code, cure=ROLES)
    return InvalidRequest(text, scope="type", code=error.code)


def _instance(region: str, cluster: Json, state: State, machine: Json) -> Instance:
    status = cluster["Status"]
    times, why = status.get("Timeline", {}), status.get("StateChangeReason", {})
    tags = {tag["Key"]: tag["Value"] for tag in cluster.get("Tags", ())}
    ended, began = times.get("EndDateTime"), times.get("CreationDateTime")
    reason = str(why.get("Code") or status["State"])
    return Instance(
        id=cluster_id(region, cluster["Id"]),
        cloud="aws",
        region=region,
        zone=cluster.get("Ec2InstanceAttributes", {}).get("Ec2AvailabilityZone") or None,
        instance_type=tags.get(OURS_TAG, ""),
        use_spot=False,
        state=state,
        ip=machine.get("PublicIpAddress") or None,
        private_ip=machine.get("PrivateIpAddress") or None,
        launched_at=began.timestamp() if began else None,
        ended_at=ended.timestamp() if ended and state == "gone" else None,
        tags=tags,
        reason="" if state in ("pending", "running") else f"{reason}: {why.get('Message') or ''}".rstrip(": "),
        halted=reason == "ALL_STEPS_COMPLETED",
        failed=_never_came(f"{reason}: {why.get('Message')}")
        if state == "gone" and "ReadyDateTime" not in times
        else None,
    )


def _never_came(text: str) -> CloudError | None:
    """What the end of a cluster that never ran says of its launch: EMR accepts it before it asks EC2 for machines."""
    said = text.lower()
    if "capacity" in said or "not supported in" in said:  # …the requested availability zone
        return CapacityError(text, scope="zone", code="InsufficientInstanceCapacity")
    if "quota" in said or "limit" in said:
        return QuotaError(text, scope="region", code="VcpuLimitExceeded")
    if "role" in said or "instance profile" in said:
        return NotSetUp(text, scope="type", cure=ROLES)
    return None


def _forgotten(region: str, flow: str) -> Instance:
    return Instance(
        id=cluster_id(region, flow), cloud="aws", region=region, zone=None, instance_type="", use_spot=False,
        state="gone", seen=False,
    )  # fmt: skip


def _split(id_: str) -> tuple[str, str]:
    region, _, flow = id_.split("/")
    return region, flow
