"""What each state of a queued resource means."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import tpu_v2

from sky_core.clouds.gcp.tpu.bodies import waiting
from sky_core.errors import CapacityError, CloudError, InvalidRequest, QuotaError

QUOTA = "Quota limit 'TPUsPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 8 in zone europe-west4-a."
CAPACITY = 'There is no more capacity in the zone "europe-west4-a"'


def resource(state: str, error: dict[str, Any] | None = None, by: str = "", spot: bool = True) -> tpu_v2.QueuedResource:
    told: dict[str, Any] = {"state": state, **({"failed_data": {"error": error}} if error else {})}
    node = {"labels": {"skyloom-cluster": "sky-1"}}
    return tpu_v2.QueuedResource(
        name="projects/p/locations/europe-west4-a/queuedResources/sky-1",
        tpu={"node_spec": [{"parent": "", "node_id": "sky-1", "node": node}]},
        state={**told, **({"state_initiator": by} if by else {})},
        **({"spot": {}} if spot else {"guaranteed": {}}),
    )


@pytest.mark.parametrize(
    ("state", "meant", "queued"),
    [
        ("CREATING", "pending", True),
        ("ACCEPTED", "pending", True),
        ("WAITING_FOR_RESOURCES", "pending", True),
        ("PROVISIONING", "pending", False),
        ("ACTIVE", "pending", False),
        ("DELETING", "stopping", False),
        ("FAILED", "stopping", False),
        ("SUSPENDED", "stopping", False),
    ],
)
def test_states(state: str, meant: str, queued: bool) -> None:
    one = waiting(resource(state))
    assert (one.id, one.state, one.queued, one.reason) == ("europe-west4-a/tpu-queue/sky-1", meant, queued, state)
    assert (one.use_spot, one.tags) == (True, {"skyloom-cluster": "sky-1"})


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 8, "message": CAPACITY}, CapacityError),
        ({"code": 8, "message": QUOTA}, QuotaError),
        ({"code": 3, "message": "Invalid accelerator type"}, InvalidRequest),
        ({"code": 4, "message": "not before its valid-until time"}, CapacityError),
        ({"code": 13, "message": "an internal error"}, CapacityError),
        (None, CapacityError),
    ],
)
def test_why_one_has_failed(error: dict[str, Any] | None, kind: type[CloudError]) -> None:
    failed = waiting(resource("FAILED", error))
    assert type(failed.failed) is kind
    assert (error or {"message": "failed"})["message"] in str(failed.failed)
    assert (failed.preempted, failed.broke) == (False, True)


def test_a_node_that_the_service_took_was_preempted_if_it_was_spot() -> None:
    taken = waiting(resource("SUSPENDED", by="SERVICE"))
    assert (taken.preempted, taken.broke) == (True, False)
    assert isinstance(taken.failed, CapacityError), "of one that has never run"
    assert not waiting(resource("SUSPENDED", by="USER")).preempted
    assert not waiting(resource("SUSPENDED", by="SERVICE", spot=False)).preempted
