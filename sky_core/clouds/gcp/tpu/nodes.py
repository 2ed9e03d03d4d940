"""TPU VMs (https://cloud.google.com/tpu/docs/reference/rest/v2): one node is a slice of one or more hosts.

A node is named by the request's token. A stock-out is the failure of the creating operation; a node that was
preempted stays, with state PREEMPTED, until it is deleted. The cloud has no limit of run time for nodes.

A request that may wait is made of Cloud TPU's queue (https://cloud.google.com/tpu/docs/queued-resources): a queued
resource of the node's name, one for each node. Its node may be deleted by itself; the resource then stays, SUSPENDED,
and counts against the quota like one that has FAILED, so what ends it is always the deletion of both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from google.api_core.exceptions import Conflict, Forbidden, NotFound
from google.api_core.operation import Operation
from google.cloud import tpu_v2

from sky_core.clouds.base import REFUSALS, Armed, Found, Instance, LaunchRequest, whole_gang
from sky_core.clouds.gcp import names
from sky_core.clouds.gcp.bodies import given_tags
from sky_core.clouds.gcp.errors import RETRY, all_or_nothing, tpu_error, tpu_errors
from sky_core.clouds.gcp.tpu.bodies import (
    FORCED,
    Kind,
    gone,
    instances,
    is_queued_id,
    node_id,
    node_of,
    queued_of,
    waiting,
)
from sky_core.config import CloudConfig
from sky_core.errors import CloudError, InvalidRequest, Throttled, UnknownOutcome

log = logging.getLogger(__name__)

CALL_S = 60.0  # time-out of one call
# Refusals come within seconds, creation takes minutes: what has not been refused by then counts as accepted.
ACCEPTED_S = 30.0


class Tpus:
    """The TPU half of Google Cloud. ``reach`` are the keyword arguments of Google's clients."""

    def __init__(self, config: CloudConfig, project: str, reach: Mapping[str, Any]) -> None:
        self._config = config
        self._project = project
        self._client = tpu_v2.TpuClient(transport="rest", **reach)
        self._unclear: set[str] = set()  # tokens of calls of which nobody knows what they did

    @staticmethod
    def has(id_: str) -> bool:
        """Whether it is the id of a node, or of a host of one."""
        return id_.split("/")[1:2] in (["tpu"], ["tpu-queue"])

    # --- launching -------------------------------------------------------------------------------------------

    def launch(self, request: LaunchRequest) -> list[Instance]:
        """Create a node for each of the gang's machines; if one is refused, the others are deleted again.

        In the queue each waits by itself: those that come first cost until the last is there, or the wait is over.

        Raises:
            InvalidRequest: without a zone, or for a name that is no TPU.
        """
        if request.zone is None:
            raise InvalidRequest(f"zone: TPUs are offered by zone, and {request.region} was asked for without one")
        kind: Kind = "tpu" if request.queue_s is None else "tpu-queue"
        nodes = [f"{request.zone}/{kind}/{name}" for name in names.node_names(request)]
        try:
            self._launch(nodes, request)
        except REFUSALS as refusal:
            unclear = request.asked_before or request.token in self._unclear
            if not unclear or not self._made_before(nodes, request, refusal):
                raise
        # The API has no limit of run time. A machine that powers off goes on costing: it has to delete its node.
        armed: Armed = "machine" if request.switch else "none"
        return [replace(self._look(node), armed=armed) for node in nodes]

    def _launch(self, nodes: Sequence[str], request: LaunchRequest) -> None:
        operations: dict[str, Operation | None] = {}
        try:
            with all_or_nothing(operations, self._delete_all):
                for node in nodes:
                    operations[node] = self._create(node, request)
                deadline = time.monotonic() + ACCEPTED_S
                for node, operation in operations.items():
                    if operation is not None:
                        self._accepted(f"create {node}", operation, deadline)
        except (UnknownOutcome, Throttled):
            self._unclear.add(request.token)
            raise

    def _made_before(self, nodes: Sequence[str], request: LaunchRequest, refusal: CloudError) -> bool:
        """Whether an earlier call with this token made the whole gang; what is left of one is deleted.

        The refusal is marked as not settled: the earlier call may still be under way.
        """
        refusal.settled = False
        try:
            looks = [self._look(node) for node in nodes]
            there = [look for look in looks if look.state != "gone" and request.tags.items() <= look.tags.items()]
            if whole_gang(there, request):
                return True
            for look in there:
                self.terminate(look.id)
        except CloudError as error:
            log.warning("%s: what an earlier call made could not be deleted: %s", request.token, error)
        return False

    def _create(self, id_: str, request: LaunchRequest) -> Operation | None:
        """Ask for one node; None if it is there already, made by an earlier call with this token."""
        zone, _, name = id_.split("/")
        location, queued = self._location(zone), is_queued_id(id_)
        node = node_of(request, self._config, self._path(id_) + (FORCED if queued else ""))
        with tpu_errors(f"create {id_}"):
            try:
                if queued:
                    resource = queued_of(request, node, location, name)
                    return self._client.create_queued_resource(
                        parent=location, queued_resource=resource, queued_resource_id=name, timeout=CALL_S
                    )
                return self._client.create_node(parent=location, node=node, node_id=name, timeout=CALL_S)
            except Conflict:
                there = self._asked_for(id_)
        ours = request.tags.items() <= given_tags(there.metadata, there.labels).items()
        if there.accelerator_type != node.accelerator_type or not ours:
            raise InvalidRequest(f"token: {zone} has another node of the name {name!r}", code="ALREADY_EXISTS")
        return None

    def _asked_for(self, id_: str) -> tpu_v2.Node:
        """What an earlier call has asked for under this name."""
        if not is_queued_id(id_):
            return self._client.get_node(name=self._path(id_), retry=RETRY, timeout=CALL_S)
        resource = self._client.get_queued_resource(name=self._path(id_), retry=RETRY, timeout=CALL_S)
        return resource.tpu.node_spec[0].node

    def _accepted(self, what: str, operation: Operation, deadline: float) -> None:
        """Wait until it is there, refused, or ``deadline`` (monotonic seconds) has come."""
        with tpu_errors(what):
            while not operation.done() and time.monotonic() < deadline:  # type: ignore[no-untyped-call]
                time.sleep(min(self._config.min_poll_s, 2.0))
            error = operation.operation.error
        if error.code:
            raise tpu_error(error.code, f"{what}: {error.message}")

    # --- looking ---------------------------------------------------------------------------------------------

    def all_hosts(self) -> Found:
        """The hosts of all nodes in every location, and what waits for its node or has lost it.

        None where the project does not use the TPU API.
        """
        parent = self._location("-")
        nodes = _pages(
            "list TPU nodes",
            lambda: (
                self._client.list_nodes(
                    request=tpu_v2.ListNodesRequest(parent=parent), retry=RETRY, timeout=CALL_S
                ).pages
            ),
        )
        queue = _pages(
            "list queued resources",
            lambda: (
                self._client.list_queued_resources(
                    request=tpu_v2.ListQueuedResourcesRequest(parent=parent), retry=RETRY, timeout=CALL_S
                ).pages
            ),
        )
        hosts = [host for page in nodes for node in page.nodes for host in instances(node)]
        shown = {node_id(host.id) for host in hosts}
        queued = [waiting(resource) for page in queue for resource in page.queued_resources]
        places = [place for page in (*nodes, *queue) for place in page.unreachable]
        return Found(
            (*hosts, *(one for one in queued if one.id not in shown)),
            {place.rpartition("/")[2]: "the TPU API does not reach it" for place in places},
        )

    def describe(self, id_: str) -> list[Instance]:
        """All hosts of a node, which has them once it is ready; the node itself before and after that.

        An id with the number of a host in it is that one host.
        """
        node = node_id(id_)
        hosts = self._hosts(node)
        return hosts if id_ == node else [next((host for host in hosts if host.id == id_), gone(id_))]

    def _look(self, node: str) -> Instance:
        """The node as one machine: its first host stands for all."""
        return self._hosts(node)[0]

    def _hosts(self, node: str) -> list[Instance]:
        zone, _, name = node.split("/")
        path = f"{self._location(zone)}/nodes/{name}"
        with tpu_errors(f"get {node}"), suppress(NotFound):
            return instances(self._client.get_node(name=path, retry=RETRY, timeout=CALL_S))
        if is_queued_id(node):
            with tpu_errors(f"get {node}"), suppress(NotFound):
                resource = self._client.get_queued_resource(name=self._path(node), retry=RETRY, timeout=CALL_S)
                return [waiting(resource)]
        return [gone(node)]

    # --- ending ----------------------------------------------------------------------------------------------

    def terminate(self, id_: str) -> None:
        """Delete the host's node with all its hosts, and the queued resource that it came of."""
        self._delete(node_id(id_))

    def _delete(self, id_: str) -> Operation | None:
        path = self._path(id_)
        with tpu_errors(f"delete {id_}"), suppress(NotFound):
            if is_queued_id(id_):
                call = tpu_v2.DeleteQueuedResourceRequest(name=path, force=True)
                return self._client.delete_queued_resource(request=call, retry=RETRY, timeout=CALL_S)
            return self._client.delete_node(name=path, retry=RETRY, timeout=CALL_S)
        return None

    def _delete_all(self, made: Collection[str]) -> None:
        """Delete nodes and see them go, so that their names are free again."""
        deletions = {id_: self._delete(id_) for id_ in made}
        deadline = time.monotonic() + ACCEPTED_S
        for id_, operation in deletions.items():
            if operation is not None:
                self._accepted(f"delete {id_}", operation, deadline)

    def _location(self, zone: str) -> str:
        return f"projects/{self._project}/locations/{zone}"

    def _path(self, id_: str) -> str:
        """What the API calls it."""
        zone, _, name = id_.split("/")
        return f"{self._location(zone)}/{'queuedResources' if is_queued_id(id_) else 'nodes'}/{name}"


def _pages(what: str, ask: Callable[[], Iterable[Any]]) -> list[Any]:
    """All pages of a list; none where the project does not use the TPU API."""
    with tpu_errors(what):
        try:
            return list(ask())
        except Forbidden as error:
            if error.reason != "SERVICE_DISABLED":
                raise
            return []
