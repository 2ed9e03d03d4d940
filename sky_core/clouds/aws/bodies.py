"""What EC2 is told of machines, and its machines as ours. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sky_core.clouds.aws import emr
from sky_core.clouds.aws.errors import sort_end
from sky_core.clouds.base import Instance, LaunchRequest, State

Json = dict[str, Any]

STATES: Mapping[str, State] = {
    "pending": "pending",
    "running": "running",
    "shutting-down": "stopping",
    "stopping": "stopping",
    "stopped": "stopping",  # its disk still costs money
    "terminated": "gone",
}
HALTED = "Client.InstanceInitiatedShutdown"
PREEMPTED = frozenset({"Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"})
ENDED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")  # in StateTransitionReason


def run_instances(request: LaunchRequest, image: Json, interface: Json, user_data: str) -> Json:
    """The body of RunInstances, but for what it says of a reservation."""
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
        **interface,
        "BlockDeviceMappings": [{"DeviceName": image["RootDeviceName"], "Ebs": disk}],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
        ],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 2},
    }
    if request.zone is not None:
        body["Placement"] = {"AvailabilityZone": request.zone}
    if request.use_spot:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        body["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return body


def instance(region: str, machine: Json) -> Instance:
    why = machine.get("StateReason", {})
    reason = why.get("Code", "")
    launched_at = machine.get("LaunchTime")
    tags: dict[str, str] = {tag["Key"]: tag["Value"] for tag in machine.get("Tags", ())}
    flow = tags.get(emr.FLOW_TAG)
    return Instance(
        id=emr.cluster_id(region, flow) if flow else f"{region}/{machine['InstanceId']}",
        cloud="aws",
        region=region,
        zone=machine.get("Placement", {}).get("AvailabilityZone"),
        instance_type=tags.get(emr.OURS_TAG) or machine["InstanceType"],
        use_spot=machine.get("InstanceLifecycle") == "spot",
        paid_ahead=machine.get("InstanceLifecycle") == "capacity-block",
        state=STATES[machine["State"]["Name"]],
        ip=machine.get("PublicIpAddress") or None,
        private_ip=machine.get("PrivateIpAddress") or None,
        launched_at=launched_at.timestamp() if launched_at else None,
        ended_at=_ended_at(machine),
        tags=tags,
        reason=reason,
        preempted=reason in PREEMPTED,
        halted=reason == HALTED,
        failed=sort_end(reason, why.get("Message", "")),
    )


def _ended_at(machine: Json) -> float | None:
    """When the machine stopped being billed, as far as EC2 says; ``None`` while it runs."""
    told = ENDED_AT.search(machine.get("StateTransitionReason", ""))
    if told is None or STATES[machine["State"]["Name"]] in ("pending", "running"):
        return None
    return datetime.strptime(told[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def forgotten(id_: str) -> Instance:
    region = id_.partition("/")[0]
    return Instance(
        id=id_, cloud="aws", region=region, zone=None, instance_type="", use_spot=False, state="gone", seen=False
    )
