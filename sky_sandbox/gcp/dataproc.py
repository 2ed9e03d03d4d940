"""Dataproc on loopback: the REST API of dataproc v1, as far as clusters are made, shown and deleted.

A cluster's machines are Compute Engine's (``NAME-m``, ``NAME-w-0`` and so on), with the cluster's labels and metadata,
as in Google Cloud. They do what the guest agent does there: make the user of ``ssh-keys`` and run ``startup-script``.
Of Hadoop there is nothing: ``spark-submit`` is whatever the machine has.
https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.clusters
"""

from __future__ import annotations

import re
import threading
import uuid
from dataclasses import dataclass, field

import yaml
from starlette.routing import Route

from sky_sandbox.gcp.request import requested_machine
from sky_sandbox.gcp.tpu.nodes import worded
from sky_sandbox.gcp.types import REGIONS, ZONES, machine_type
from sky_sandbox.gcp.wire import ApiError, Call, Resource, endpoint, start, timestamp
from sky_sandbox.machines.namespaces import after_sshd
from sky_sandbox.machines.record import Machine
from sky_sandbox.world import Refused, World

NAME = re.compile(r"^[a-z]([-a-z0-9]{0,49}[a-z0-9])?$")
VERSIONS = ("2.0", "2.1", "2.2", "2.3")
ZERO_WORKERS = "dataproc:dataproc.allow.zero.workers"
LEAST_WORKERS = 2
TTL_S = (600, 14 * 24 * 3600)
TYPE = "type.googleapis.com/google.cloud.dataproc.v1.ClusterOperationMetadata"
KEYS, SCRIPT = "ssh-keys", "startup-script"
NO_CAPACITY = (
    "The zone 'projects/{project}/zones/{zone}' does not have enough resources available to fulfill the request."
)


@dataclass
class Cluster:
    """A cluster as it was asked for, with its machines."""

    body: Resource
    project: str
    region: str
    machines: list[Machine]
    made_at: float
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    failure: str = ""
    deleted_at: float | None = None
    ready_at: float | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.body["clusterName"])

    @property
    def gone(self) -> bool:
        """Whether nothing is left of it, once it is deleted."""
        return self.deleted_at is not None and all(machine.state == "gone" for machine in self.machines)


class Dataproc:
    """Clusters of all regions and the operations on them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clusters: dict[tuple[str, str, str], Cluster] = {}  # (project, region, name)
        self.operations: dict[str, tuple[Cluster, str]] = {}
        self.requests: dict[str, str] = {}  # operation by requestId

    def routes(self) -> list[Route]:
        """URL patterns of the API."""
        region = "/v1/projects/{project}/regions/{region}"
        table = (
            ("POST", region + "/clusters", "clusters.create", self.create),
            ("GET", region + "/clusters", "clusters.list", self.list_clusters),
            ("GET", region + "/clusters/{name}", "clusters.get", self.get),
            ("DELETE", region + "/clusters/{name}", "clusters.delete", self.delete),
            ("GET", region + "/operations/{name}", "dataprocOperations.get", self.get_operation),
        )
        return [
            Route(path, endpoint(self.world, action, handler, about, word=worded), methods=[method])
            for method, path, action, handler in table
        ]

    # --- creating and ending ---------------------------------------------------------------------------------

    def create(self, call: Call) -> Resource:
        """…/clusters/create"""
        key = (call.path["project"], call.path["region"], call.body.get("clusterName", ""))
        if self.world.host.shares_host:  # the script would change this very host's keys
            raise ApiError(
                400, "invalid", "this sandbox's machines are no hosts of their own: Dataproc needs sshd in namespaces"
            )
        with self.world.lock:
            if known := self.requests.get(call.query.get("requestId", "")):
                return self._operation(known)
            if self._find(key):
                raise ApiError(
                    409, "alreadyExists", f"Already exists: Failed to create cluster: Cluster {'/'.join(key)}"
                )
            cluster = self._made(call)
            self.clusters[key] = cluster
            self._admit(cluster, call)
            outcome = "refused" if cluster.failure else "created"
            self.world.record("api", None, cloud="gcp", action="clusters.create", outcome=outcome, **about(call))
        name = self._begun(cluster, "CREATE")
        if "requestId" in call.query:
            self.requests[call.query["requestId"]] = name
        return self._operation(name)

    def _admit(self, cluster: Cluster, call: Call) -> None:
        """Start the machines if there is room for all; else the cluster is there, in error."""
        first = cluster.machines[0]
        try:
            if call.refusal:
                raise Refused("quota" if "QUOTA" in call.refusal else "capacity", "sandbox fault")
            for kind in {machine.type for machine in cluster.machines}:
                count = sum(machine.type == kind for machine in cluster.machines)
                self.world.admit("gcp", first.region, first.zone, kind, "on-demand", first.vcpus, count)
        except Refused as refused:
            words = f"Insufficient 'CPUS' quota: {refused}" if refused.why == "quota" else NO_CAPACITY
            cluster.failure = words.format(project=cluster.project, zone=first.zone)
            cluster.machines = []
            return
        for machine in cluster.machines:
            start(self.world, machine)
        if ttl := cluster.body["config"].get("lifecycleConfig", {}).get("autoDeleteTtl"):
            timer = threading.Timer(float(str(ttl).removesuffix("s")), self._end, (cluster,))
            timer.daemon = True
            timer.start()

    def _made(self, call: Call) -> Cluster:
        """The cluster that a create asks for, after the checks that Dataproc makes at once."""
        body, project, region = call.body, call.path["project"], call.path["region"]
        config = body.get("config", {})
        place = config.get("gceClusterConfig", {})
        zone = place.get("zoneUri", "").rpartition("/")[2]
        version = config.get("softwareConfig", {}).get("imageVersion", "")
        properties = config.get("softwareConfig", {}).get("properties", {})
        workers = int(config.get("workerConfig", {}).get("numInstances", 0))
        ttl = config.get("lifecycleConfig", {}).get("autoDeleteTtl")
        checks = (
            (NAME.match(body.get("clusterName", "")), "Invalid cluster name"),
            (region in REGIONS and ZONES.get(zone) == region, f"Zone '{zone}' is not in region '{region}'"),
            (version.startswith(VERSIONS), f"Selected software image version {version} is not supported"),
            (workers >= LEAST_WORKERS or (workers == 0 and properties.get(ZERO_WORKERS) == "true"),
             f"Insufficient number of primary workers: {workers}"),
            (ttl is None or TTL_S[0] <= float(ttl.removesuffix("s")) <= TTL_S[1], "autoDeleteTtl is out of range"),
        )  # fmt: skip
        for held, why in checks:
            if not held:
                raise ApiError(400, "invalid", why)
        groups = [("masterConfig", "m", 1), ("workerConfig", "w", workers)]
        machines = []
        for group, letter, count in groups:
            for index in range(count):
                name = f"{body['clusterName']}-{letter}" + ("" if letter == "m" else f"-{index}")
                machines.append(self._machine(project, zone, name, config[group], body))
        return Cluster(body, project, region, machines, self.world.clock())

    def _machine(self, project: str, zone: str, name: str, group: Resource, body: Resource) -> Machine:
        place = body["config"]["gceClusterConfig"]
        type_ = group.get("machineTypeUri", "").rpartition("/")[2]
        if machine_type(type_) is None:
            raise ApiError(400, "invalid", f"Machine type '{type_}' could not be found")
        role = "Master" if name.endswith("-m") else "Worker"
        labels = {**body.get("labels", {}), "goog-dataproc-cluster-name": body["clusterName"]}
        metadata = {**place.get("metadata", {}), "dataproc-role": role, "dataproc-cluster-name": body["clusterName"]}
        outside = [] if place.get("internalIpOnly") else [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]
        resource = {
            "name": name,
            "machineType": f"zones/{zone}/machineTypes/{type_}",
            "labels": labels,
            "metadata": {"items": [{"key": key, "value": value} for key, value in metadata.items()]},
            "tags": {"items": list(place.get("tags", ()))},
            "disks": [
                {"boot": True, "initializeParams": {"sourceImage": f"projects/{project}/global/images/dataproc"}}
            ],
            "networkInterfaces": [
                {
                    "network": place.get("networkUri", ""),
                    "subnetwork": place.get("subnetworkUri", ""),
                    "accessConfigs": outside,
                }
            ],
            "serviceAccounts": [{"email": "default", "scopes": place.get("serviceAccountScopes", [])}],
        }
        machine = requested_machine(self.world, project, zone, resource)
        machine.user_data = _guest_agent(name, machine.ip, metadata)
        machine.extra["metadata"] = metadata
        return machine

    def delete(self, call: Call) -> Resource:
        """…/clusters/delete"""
        cluster = self._get(call)
        self.world.record("api", None, cloud="gcp", action="clusters.delete", outcome="deleted", **about(call))
        self._end(cluster)
        return self._operation(self._begun(cluster, "DELETE"))

    def _end(self, cluster: Cluster) -> None:
        cluster.deleted_at = cluster.deleted_at or self.world.clock()
        for machine in cluster.machines:
            machine.deleted = True
            threading.Thread(target=self.world.stop, args=(machine.id,), daemon=True).start()

    # --- reading ---------------------------------------------------------------------------------------------

    def get(self, call: Call) -> Resource:
        """…/clusters/get"""
        return self._view(self._get(call))

    def list_clusters(self, call: Call) -> Resource:
        """…/clusters/list"""
        there = [
            cluster for key, cluster in self.clusters.items() if key[:2] == (call.path["project"], call.path["region"])
        ]
        views = [self._view(cluster) for cluster in there if not cluster.gone]
        return {"clusters": [view for view in views if _passes(view, call.query.get("filter", ""))]}

    def _find(self, key: tuple[str, str, str]) -> Cluster | None:
        cluster = self.clusters.get(key)
        return None if cluster is None or cluster.gone else cluster

    def _get(self, call: Call) -> Cluster:
        key = (call.path["project"], call.path["region"], call.path["name"])
        cluster = self._find(key)
        if cluster is None:
            raise ApiError(404, "notFound", f"Not found: Cluster projects/{key[0]}/regions/{key[1]}/clusters/{key[2]}")
        return cluster

    def _view(self, cluster: Cluster) -> Resource:
        state, since = self._state(cluster)
        config = {**cluster.body["config"]}
        config["masterConfig"] = {**config["masterConfig"], "instanceNames": [f"{cluster.name}-m"]}
        status: Resource = {"state": state, "stateStartTime": _time(since)}
        if cluster.failure:
            status["detail"] = cluster.failure
        before = [{"state": "CREATING", "stateStartTime": _time(cluster.made_at)}] if state != "CREATING" else []
        return {
            "projectId": cluster.project,
            "clusterName": cluster.name,
            "clusterUuid": cluster.uuid,
            "labels": {**cluster.body.get("labels", {}), "goog-dataproc-cluster-name": cluster.name},
            "config": config,
            "status": status,
            "statusHistory": before,
        }

    def _state(self, cluster: Cluster) -> tuple[str, float]:
        if cluster.deleted_at is not None:
            return "DELETING", cluster.deleted_at
        if cluster.failure:
            return "ERROR", cluster.made_at
        if cluster.ready_at is None and all(machine.state == "running" for machine in cluster.machines):
            cluster.ready_at = self.world.clock()
        return ("CREATING", cluster.made_at) if cluster.ready_at is None else ("RUNNING", cluster.ready_at)

    # --- operations ------------------------------------------------------------------------------------------

    def _begun(self, cluster: Cluster, kind: str) -> str:
        name = f"projects/{cluster.project}/regions/{cluster.region}/operations/{uuid.uuid4()}"
        self.operations[name] = (cluster, kind)
        return name

    def _operation(self, name: str) -> Resource:
        cluster, kind = self.operations[name]
        state = self._state(cluster)[0]
        over = cluster.gone if kind == "DELETE" else state != "CREATING"
        about = {"@type": TYPE, "clusterName": cluster.name, "clusterUuid": cluster.uuid, "operationType": kind}
        told: Resource = {"name": name, "metadata": about, "done": over}
        if over and cluster.failure and kind == "CREATE":
            told["error"] = {"code": 9, "message": cluster.failure}
        return told

    def get_operation(self, call: Call) -> Resource:
        """…/operations/get"""
        name = "projects/{project}/regions/{region}/operations/{name}".format_map(call.path)
        if name not in self.operations:
            raise ApiError(404, "notFound", f"Not found: {name}")
        return self._operation(name)


def about(call: Call) -> dict[str, str]:
    """What faults can match a call by, and what the audit log says of it. The token is the cluster's name."""
    config = call.body.get("config", {})
    zone = config.get("gceClusterConfig", {}).get("zoneUri", "").rpartition("/")[2]
    found = {"region": call.path["region"], "zone": zone}
    found["token"] = call.body.get("clusterName") or call.path.get("name", "")
    if "masterConfig" in config:
        found["type"] = config["masterConfig"].get("machineTypeUri", "").rpartition("/")[2]
    return found


def _guest_agent(name: str, ip: str, metadata: Resource) -> str:
    """What Google's guest agent does with a machine's metadata, for the machine's boot."""
    user, _, key = metadata.get(KEYS, "").partition(":")
    script = after_sshd(["bash", "-c", metadata[SCRIPT]]) if SCRIPT in metadata else ""
    boot = f"hostname {name}\necho {ip} {name} >>/etc/hosts\n{script}"  # /etc/hosts is the machine's own
    return yaml.safe_dump({"users": [{"name": user, "ssh_authorized_keys": [key]}] if user else [], "bootcmd": [boot]})


def _passes(view: Resource, expression: str) -> bool:
    """``field = value [AND field = value] …``: https://cloud.google.com/dataproc/docs/reference/rest (clusters.list)"""
    for term in filter(None, expression.split(" AND ")):
        path, _, wanted = (part.strip() for part in term.partition("="))
        section, _, key = path.partition(".")
        if section != "labels" or view["labels"].get(key) != wanted:
            return False
    return True


def _time(seconds: float) -> str:
    return timestamp(seconds).replace("+00:00", "Z")
