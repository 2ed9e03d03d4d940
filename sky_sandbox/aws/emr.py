"""EMR clusters whose machines are the world's: moto's EMR, with what it lacks.

moto keeps clusters, groups, steps and tags; here they get real machines, the first of which runs the step, and end as
EMR ends them: when it is asked to, when the first machine is lost, and when no steps are left of a cluster that is not
kept alive. The machines are EC2's as well, with the cluster's tags and ``aws:elasticmapreduce:job-flow-id``, as in AWS.
Of Hadoop there is nothing: ``spark-submit`` is whatever the machine has.
"""

from __future__ import annotations

import hashlib
import re
import threading
from typing import Any

import yaml
from moto.core.responses import BaseResponse
from moto.core.types import Base64EncodedString
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.emr.exceptions import ValidationException
from moto.emr.models import Cluster, ElasticMapReduceBackend, Instance, InstanceGroup
from moto.emr.responses import ElasticMapReduceResponse

from sky_sandbox.aws.ec2 import ACCOUNT
from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.aws.types import instance_type
from sky_sandbox.machines.namespaces import after_sshd
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import World

USER = "hadoop"
FLOW_TAG = "aws:elasticmapreduce:job-flow-id"
OVER = ("TERMINATED", "TERMINATED_WITH_ERRORS")


class Emr:
    """Clusters of all regions over a world. One per process, since moto keeps its state in globals."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lock = threading.RLock()
        self._wanted: dict[str, list[tuple[InstanceGroup, dict[str, Any]]]] = {}  # groups without machines, by cluster
        self._machines: dict[str, tuple[Cluster, bool]] = {}  # a machine's cluster, and whether it is the first
        run = ElasticMapReduceResponse.run_job_flow

        def run_instances(backend: ElasticMapReduceBackend, cluster_id: str, instances: Any, group: Any) -> None:
            self._wanted.setdefault(cluster_id, []).append((group, instances))

        def run_job_flow(response: ElasticMapReduceResponse) -> Any:
            if world.host.shares_host:  # the step would change this very host's keys
                raise ValidationException(
                    "this sandbox's machines are no hosts of their own: EMR needs sshd in namespaces"
                )
            for group in response._get_param("Instances.InstanceGroups", []):
                if instance_type(group["instance_type"]) is None:
                    raise ValidationException(f"Instance type '{group['instance_type']}' is not supported")
            with self.lock:
                before = set(response.backend.clusters)
                answer = run(response)
                for name in set(response.backend.clusters) - before:
                    self._launch(response.backend.clusters[name])
                return answer

        def terminate_cluster(cluster: Cluster) -> None:
            self._end(cluster, "USER_REQUEST", "Terminated by user request")

        # As of all services: moto looks for the region in the name of EMR's own host.
        ElasticMapReduceResponse.get_region_from_url = BaseResponse.get_region_from_url  # type: ignore[method-assign]
        ElasticMapReduceBackend.run_instances = run_instances  # type: ignore[method-assign, assignment]
        ElasticMapReduceResponse.run_job_flow = run_job_flow  # type: ignore[method-assign, assignment]
        Cluster.terminate = terminate_cluster  # type: ignore[method-assign, assignment]
        Cluster.status = property(_status)  # type: ignore[method-assign, assignment]
        world.listeners.append(self._ended)

    def _launch(self, cluster: Cluster) -> None:
        """Give a new cluster its machines. EMR has accepted it by then, whatever EC2 says."""
        cluster.state, cluster.ready_datetime = "STARTING", None
        region = cluster.emr_backend.region_name
        ec2 = ec2_backends[ACCOUNT][region]
        tags = {**cluster._tags, FLOW_TAG: cluster.id}
        groups = sorted(self._wanted.pop(cluster.id, []), key=lambda pair: pair[0].role != "MASTER")
        try:
            for group, wanted in groups:
                first = group.role == "MASTER"
                reservation = ec2.run_instances(
                    _image(ec2, cluster.release_label or ""), int(wanted["instance_count"]),
                    _user_data(cluster) if first else None, [],
                    instance_type=wanted["instance_type"], is_instance_type_default=False,
                    placement=cluster.availability_zone, region_name=region, owner_id=ACCOUNT,
                    security_group_ids=list(cluster.additional_master_security_groups or ()) if first else [],
                    tags={"instance": tags},
                )  # fmt: skip
                for machine in reservation.instances:
                    cluster.add_instance(Instance(ec2_instance=machine, instance_group=group))
                    self._machines[machine.id] = (cluster, first)
        except AwsError as error:
            said = re.search("<Message>(.*)</Message>", error.description or "")
            self._end(cluster, "VALIDATION_ERROR", said[1] if said else "", failed=True)

    def refresh(self) -> None:
        """Bring moto's record of every cluster up to date with the world."""
        with self.lock:
            for cluster in {id(cluster): cluster for cluster, _ in self._machines.values()}.values():
                machines = [self.world.machines.get(one.ec2_instance.id) for one in cluster.ec2_instances]
                if cluster.state == "STARTING" and all(m is not None and m.state == "running" for m in machines):
                    cluster.state, cluster.ready_datetime = "RUNNING", utcnow()

    def _ended(self, machine: Machine) -> None:
        cluster, first = self._machines.get(machine.id, (None, False))
        if cluster is None or not first:  # YARN goes on without the others
            return
        if machine.cause == "self":
            self._end(cluster, "ALL_STEPS_COMPLETED", "Steps completed")
        elif machine.cause != "user":
            self._end(cluster, "INSTANCE_FAILURE", "The master node was terminated", failed=True)

    def _end(self, cluster: Cluster, code: str, message: str, *, failed: bool = False) -> None:
        with self.lock:
            if cluster.state in OVER:
                return
            cluster.state = "TERMINATED_WITH_ERRORS" if failed else "TERMINATED"
            cluster.end_datetime = utcnow()
            cluster.last_state_change_reason = (code, message)  # type: ignore[attr-defined]
        if machines := [one.ec2_instance.id for one in cluster.ec2_instances]:
            ec2_backends[ACCOUNT][cluster.emr_backend.region_name].terminate_instances(machines)


def _status(cluster: Cluster) -> dict[str, Any]:
    code, message = getattr(cluster, "last_state_change_reason", (None, None))
    times = {
        "CreationDateTime": cluster.creation_datetime,
        "ReadyDateTime": cluster.ready_datetime,
        "EndDateTime": cluster.end_datetime,
    }
    return {
        "State": cluster.state,
        "StateChangeReason": {name: text for name, text in (("Code", code), ("Message", message)) if text},
        "Timeline": {name: at for name, at in times.items() if at is not None},
    }


def _image(ec2: Any, release: str) -> str:
    """EMR's own image, which has all that its programs need."""
    name = f"ami-{hashlib.sha256(f'{ec2.region_name}{release}'.encode()).hexdigest()[:17]}"
    if name not in ec2.amis:
        ec2.amis[name] = Ami(
            ec2, name, name=release, owner_alias="amazon", public=False, virtualization_type="hvm",
            architecture="x86_64", root_device_type="ebs", region_name=f"{ec2.region_name}a",
        )  # fmt: skip
    return name


def _user_data(cluster: Cluster) -> Base64EncodedString:
    """What lets the first machine run the step."""
    step = cluster.steps[0] if cluster.steps else None
    command = ["true"] if step is None else list(step.args)
    # The machine ends with its step, and the cluster with that, unless it is kept alive.
    boot = after_sshd(command, "" if cluster.keep_job_flow_alive_when_no_steps else "shutdown -h now")
    told = yaml.safe_dump({"users": [{"name": USER, "ssh_authorized_keys": []}], "bootcmd": [boot]})
    return Base64EncodedString.from_raw_bytes(told.encode())
