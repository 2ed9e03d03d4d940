"""Dataproc: a cluster with Spark, of which the first machine is one of ours.

Its startup script lets us log in, and ends the cluster when nobody needs it any more. Our agent runs the task's
command there, so that it is followed, cancelled and taken up again as on any machine; ``spark-submit`` spreads it over
the others.

A cluster is named by its request's token, and ``zone/dataproc/name`` here. What Dataproc does not tell of its machines,
such as their addresses, Compute Engine does.
https://cloud.google.com/dataproc/docs/reference/rest/v1/projects.regions.clusters
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from google.api_core.exceptions import AlreadyExists, Conflict, NotFound

from sky_core.clouds.base import Instance, LaunchRequest, State
from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.bodies import ALL_SCOPES, NETWORK_TAG, TAGS_KEY, TYPE_KEY
from sky_core.clouds.gcp.errors import RETRY, dataproc_end, dataproc_errors
from sky_core.clouds.gcp.network.vpc import vpc
from sky_core.clouds.userdata import arming, with_our_host_key
from sky_core.config import CloudConfig
from sky_core.errors import CloudError, InvalidRequest, UnknownOutcome
from sky_core.facts.gcp import FACTS
from sky_core.facts.managed import DATAPROC, parts

KIND = "dataproc"  # in the ids of clusters
NODE_KEY = "skyloom-node"  # metadata: the cluster's resource name, by which its first machine can delete it
CALL_S = 60.0
LIVES_S = (600, 14 * 24 * 3600)  # LifecycleConfig.auto_delete_ttl
DISK_GIB = 30  # least boot disk of the images
STATES: Mapping[str, State] = {
    "UNKNOWN": "pending",
    "CREATING": "pending",
    "STARTING": "pending",
    "RUNNING": "running",
    "UPDATING": "running",
    "ERROR_DUE_TO_UPDATE": "running",
}  # in all others nothing runs any more, but the cluster is there until it is deleted


def is_cluster(id_: str) -> bool:
    """Whether an id is a cluster's."""
    return f"/{KIND}/" in id_


class Dataproc:
    """Clusters, each told as its first machine. ``reach`` are the keyword arguments of Google's clients.

    ``look`` asks Compute Engine for a machine by its id.
    """

    def __init__(
        self, config: CloudConfig, project: str, reach: Mapping[str, Any], look: Callable[[str], Instance]
    ) -> None:
        self._config, self._project, self._reach, self._look = config, project, reach, look

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Create the cluster, or take the one that an earlier call with this token made.

        Raises:
            InvalidRequest: without a zone, or for a release that there is not.
        """
        if FACTS.service(request.instance_type) is None:
            offered = ", ".join(DATAPROC.releases)
            raise InvalidRequest(f"Dataproc has no release {request.instance_type!r}: {offered}", scope="type")
        if request.zone is None:
            raise InvalidRequest(f"zone: clusters are made in a zone, and {request.region} was asked for without one")
        id_ = f"{request.zone}/{KIND}/{request.token}"
        body = cluster_body(self._project, request, self._config)
        call = {
            "project_id": self._project, "region": request.region, "cluster": body,
            "request_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._project}/{id_}")),
        }  # fmt: skip
        with dataproc_errors(f"create {id_}"):
            try:
                self._client(request.region).create_cluster(request=call, timeout=CALL_S)
            except (AlreadyExists, Conflict):
                self._check_ours(id_, request)
        return [replace(self.describe(id_), armed="cloud" if request.switch else "none")]

    def _check_ours(self, id_: str, request: LaunchRequest) -> None:
        there = self.describe(id_)
        if there.state == "gone":
            raise UnknownOutcome(f"{id_} is on its way out")
        if there.instance_type != request.instance_type or not request.tags.items() <= there.tags.items():
            raise InvalidRequest(f"token: {request.region} has another cluster of the name {request.token!r}",
                                 code="alreadyExists")  # fmt: skip

    def describe(self, id_: str) -> Instance:
        """The cluster as its first machine; one that Dataproc no longer knows is gone."""
        zone, _, name = id_.split("/")
        with dataproc_errors(f"get {id_}"):
            try:
                cluster = self._get(names.region_of(zone), name)
            except NotFound:
                return _gone(id_)
        found = instance(id_, cluster)
        if found.state != "running":
            return found
        first = self._look(f"{zone}/{name}-m")
        if first.state in ("stopping", "gone"):  # the cluster is there without it, and costs money, until it is deleted
            return replace(found, state="stopping", reason=first.reason or "its first machine is gone")
        return replace(found, ip=first.ip, private_ip=first.private_ip)

    def find(self, tags: Mapping[str, str], regions: Iterable[str]) -> list[Instance]:
        """Clusters that carry the tags and are there."""
        wanted = " AND ".join(f"labels.{key} = {value}" for key, value in names.labels(tags).items())
        found = []
        for region in regions:
            call = {"project_id": self._project, "region": region, "filter": wanted}
            with dataproc_errors(f"list clusters in {region}"):
                for cluster in self._client(region).list_clusters(request=call, retry=RETRY, timeout=CALL_S):
                    zone = cluster.config.gce_cluster_config.zone_uri.rpartition("/")[2]
                    found.append(instance(f"{zone}/{KIND}/{cluster.cluster_name}", cluster))
        return [one for one in found if tags.items() <= one.tags.items()]

    def terminate(self, id_: str) -> None:
        """Delete the cluster with all its machines; a deletion that is under way is fine."""
        zone, _, name = id_.split("/")
        region = names.region_of(zone)
        with dataproc_errors(f"delete {id_}"), suppress(NotFound):
            if self._get(region, name).status.state.name == "DELETING":
                return
            call = {"project_id": self._project, "region": region, "cluster_name": name}
            self._client(region).delete_cluster(request=call, retry=RETRY, timeout=CALL_S)

    def _get(self, region: str, name: str) -> Any:
        call = {"project_id": self._project, "region": region, "cluster_name": name}
        return self._client(region).get_cluster(request=call, retry=RETRY, timeout=CALL_S)

    def _client(self, region: str) -> Any:
        """Of a region: outside the sandbox each has a host of its own."""
        if "client_options" in self._reach:
            return self._made("")
        return self._made(region)

    def _made(self, region: str) -> Any:
        if region not in self._clients:
            try:
                from google.cloud import dataproc_v1 as dataproc
            except ImportError as error:
                raise InvalidRequest(str(error), scope="type", cure=FACTS.install) from error
            host = {"client_options": {"api_endpoint": f"{region}-dataproc.googleapis.com"}} if region else {}
            self._clients[region] = dataproc.ClusterControllerClient(transport="rest", **{**self._reach, **host})
        return self._clients[region]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}


def cluster_body(project: str, request: LaunchRequest, config: CloudConfig) -> dict[str, Any]:
    """The cluster that a request asks for, for ``clusters.create``, by the names of google-cloud-dataproc."""
    release, machine = parts(request.instance_type)
    there = vpc(config, project, request.region)
    disk = {"boot_disk_type": names.disk_type(machine), "boot_disk_size_gb": max(request.disk_gib, DISK_GIB)}

    def group(count: int) -> dict[str, Any]:
        return {"num_instances": count, "machine_type_uri": machine, "disk_config": disk}

    place = {"subnetwork_uri": there.subnetwork} if there.subnetwork else {"network_uri": there.full}
    alone = request.num_nodes == 1
    body: dict[str, Any] = {
        "gce_cluster_config": {
            "zone_uri": request.zone,
            **place,
            "internal_ip_only": not there.public,
            "service_account_scopes": ALL_SCOPES,
            **({"service_account": config.machine_identity} if config.machine_identity else {}),
            "tags": [NETWORK_TAG, *there.tags],
            "metadata": _metadata(project, request, config.ssh_user),
        },
        "master_config": group(1),
        "software_config": {
            "image_version": release.removeprefix("dataproc-"),
            "properties": {"dataproc:dataproc.allow.zero.workers": "true"} if alone else {},
        },
    }
    if not alone:
        body["worker_config"] = group(request.num_nodes - 1)
    if request.switch:
        seconds = min(max(int(request.switch.max_s), LIVES_S[0]), LIVES_S[1])
        body["lifecycle_config"] = {"auto_delete_ttl": {"seconds": seconds}}
    labels = names.labels(request.tags)
    return {"project_id": project, "cluster_name": request.token, "labels": labels, "config": body}


def _metadata(project: str, request: LaunchRequest, user: str) -> dict[str, str]:
    """What all machines of the cluster are told; the script does nothing but on the first.

    https://cloud.google.com/compute/docs/connect/add-ssh-keys#metadata: the guest agent makes the user.
    """
    first = 'case "$(hostname -s)" in *-m) ;; *) exit 0 ;; esac'
    script = f"#!/bin/bash\n{first}\n{with_our_host_key(request)}{arming(request.switch, user)}"
    return {
        "ssh-keys": f"{user}:{request.authorized_key.strip()}",
        "enable-oslogin": "FALSE",
        "startup-script": script,
        TAGS_KEY: json.dumps(dict(request.tags)),
        TYPE_KEY: request.instance_type,
        NODE_KEY: f"projects/{project}/regions/{request.region}/clusters/{request.token}",
    }


def instance(id_: str, cluster: Any) -> Instance:
    """A cluster as one machine of ours."""
    zone, told = id_.partition("/")[0], dict(cluster.config.gce_cluster_config.metadata)
    state = cluster.status.state.name
    began = min((at for at in _creations(cluster)), default=None)
    tags = json.loads(told[TAGS_KEY]) if TAGS_KEY in told else dict(cluster.labels)
    return Instance(
        id=id_,
        cloud="gcp",
        region=names.region_of(zone),
        zone=zone,
        instance_type=told.get(TYPE_KEY, ""),
        use_spot=False,
        state=STATES.get(state, "stopping"),
        launched_at=began,
        tags=tags,
        reason="" if STATES.get(state) else f"{state}: {cluster.status.detail}".rstrip(": "),
        failed=_failure(state, cluster.status.detail),
    )


def _failure(state: str, detail: str) -> CloudError | None:
    return dataproc_end(detail) if state == "ERROR" else None


def _creations(cluster: Any) -> Iterable[float]:
    for status in (*cluster.status_history, cluster.status):
        if status.state_start_time:
            yield status.state_start_time.timestamp()


def _gone(id_: str) -> Instance:
    zone = id_.partition("/")[0]
    return Instance(
        id=id_, cloud="gcp", region=names.region_of(zone), zone=zone, instance_type="", use_spot=False, state="gone",
        reason="deleted",
    )  # fmt: skip
