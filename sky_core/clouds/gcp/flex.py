"""Flex-start VMs: Compute Engine's own queue for machines with GPUs, of the Dynamic Workload Scheduler.

https://cloud.google.com/compute/docs/instances/provisioning-models and its page about Flex-start VMs: on demand, of
machine series that come with their GPUs, for seven days at most. A machine that waits is PENDING; if nothing is found
for it in time, it is deleted with an error (https://cloud.google.com/compute/docs/instances/instance-life-cycle).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from google.cloud import compute_v1 as compute

from sky_core.clouds.base import REFUSALS, Instance, LaunchRequest
from sky_core.clouds.gcp.errors import operation_error
from sky_core.facts.gcp import FLEX_START, FLEX_START_HOURS

WAIT_S = (90, int(3600 * FLEX_START_HOURS))  # requestValidForDuration of a machine by itself
LONGEST_RUN_S = 7 * 24 * 3600


def starts(request: LaunchRequest) -> bool:
    """Whether such a machine is waited for as a Flex-start VM."""
    in_series = request.instance_type.partition("-")[0] in FLEX_START
    return request.queue_s is not None and not request.use_spot and in_series


def queued(body: compute.Instance, queue_s: float) -> compute.Instance:
    """The body as of a machine that may wait for so many seconds, within what Compute Engine takes."""
    scheduling = body.scheduling
    scheduling.provisioning_model = "FLEX_START"
    scheduling.instance_termination_action = "DELETE"
    most = min(scheduling.max_run_duration.seconds or LONGEST_RUN_S, LONGEST_RUN_S)
    scheduling.max_run_duration = compute.Duration(seconds=most)
    body.reservation_affinity = compute.ReservationAffinity(consume_reservation_type="NO_RESERVATION")
    least, longest = WAIT_S
    wait = compute.Duration(seconds=min(max(int(queue_s), least), longest))
    body.params = compute.InstanceParams(request_valid_for_duration=wait)
    return body


def why_none(machine: Instance, history: Sequence[compute.Operation]) -> Instance:
    """A machine that is gone, with the refusal if its insert came to nothing after it was accepted."""
    inserts = [one for one in history if one.operation_type == "insert"]
    newest = max(inserts, key=lambda one: one.insert_time, default=None)
    error = operation_error(newest) if newest is not None else None
    return replace(machine, failed=error, reason=str(error)) if isinstance(error, REFUSALS) else machine
