"""Capacity reservation groups through azure-mgmt-compute: who gets in, what is refused, what is told of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sky_core.clouds import connect, holdings
from sky_core.clouds.base import Cloud, LaunchRequest
from sky_core.errors import CapacityError, InvalidRequest
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import request

ZONE, SIZE = "eastus-1", "Standard_D2s_v5"


@pytest.fixture(scope="module")
def azure(shared_sandbox: Sandbox) -> Cloud:
    return connect("azure", shared_sandbox.settings)


def into(token: str, reservation: str | None, **changes: Any) -> LaunchRequest:
    place = {"instance_type": SIZE, "region": "eastus", "zone": ZONE, "use_spot": False, "asked_before": False}
    return request(token, **{**place, **changes}, reservation=reservation)


def test_a_launch_is_in_the_group_that_it_names_and_costs_nothing_more(
    sandbox: Sandbox, azure: Cloud, token: str
) -> None:
    group = sandbox.control.reserve("azure", ZONE, SIZE, 2)
    sandbox.control.capacity(ZONE, SIZE, "on-demand", 0)
    wanted = into(token, group, num_nodes=2)
    ids = [one.id for one in azure.launch(wanted)]
    until(lambda: {one.state for one in azure.describe(ids)} == {"running"})
    open_now = [(entry["kind"], entry["id"]) for entry in sandbox.control.ledger(open_only=True)]
    assert [one for one in open_now if one[0] in ("machine", "reservation")] == [("reservation", group)]
    assert [one.id for one in azure.launch(replace(wanted, asked_before=True))] == ids, "its own machines fill it"
    sandbox.control.capacity(ZONE, SIZE, "on-demand", None)
    with pytest.raises(CapacityError, match="0 machines left; more would be sold beside it") as full:
        azure.launch(into(f"{token}-more", group))
    assert full.value.scope == "reservation"


@pytest.mark.parametrize(
    "changes", [{"zone": "eastus-2"}, {"zone": None}, {"instance_type": "Standard_D4s_v5"}], ids=str
)
def test_what_a_group_does_not_hold_is_refused_for_it_alone(
    sandbox: Sandbox, azure: Cloud, token: str, changes: dict[str, Any]
) -> None:
    group = sandbox.control.reserve("azure", ZONE, SIZE)
    with pytest.raises(InvalidRequest, match="skyloom catalog reservations") as refused:
        azure.launch(into(token, group, **changes))
    assert (refused.value.scope, sandbox.live()) == ("reservation", [])


def test_a_group_that_cannot_be_looked_at_is_told_by_azure_itself(sandbox: Sandbox, azure: Cloud, token: str) -> None:
    group = sandbox.control.reserve("azure", ZONE, SIZE)
    for number, (named, size) in enumerate(((f"{group}-not", SIZE), (group, "Standard_D4s_v5"))):
        sandbox.control.fault("azure", "capacityReservationGroups.get", "error", code="AuthorizationFailed")
        with pytest.raises(InvalidRequest) as refused:
            azure.launch(into(f"{token}-{number}", named, instance_type=size))
        assert refused.value.scope == "reservation"
    assert sandbox.live() == []
    sandbox.control.fault("azure", "capacityReservationGroups.get", "error", code="AuthorizationFailed")
    [machine] = azure.launch(into(token, group))
    assert [one["reservation"] for one in sandbox.control.machines(live=True)] == [group], machine


def test_the_subscription_tells_what_it_holds(sandbox: Sandbox, azure: Cloud, token: str) -> None:
    zonal = sandbox.control.reserve("azure", ZONE, SIZE, 3)
    regional = sandbox.control.reserve("azure", "westus2", "Standard_D4s_v5", region="westus2")
    azure.launch(into(token, zonal))
    found = {one.name: one for one in holdings("azure", sandbox.settings).held}
    assert set(found) == {zonal, regional}
    assert (found[zonal].zone, found[zonal].total, found[zonal].free) == (ZONE, 3, 2)
    assert (found[regional].zone, found[regional].instance_type) == (None, "Standard_D4s_v5")
    there = holdings("azure", sandbox.settings, ["westus2"]).held
    assert {one.name for one in there} == {zonal, regional}, "who names another region is told where they are"
    azure.launch(into(f"{token}-region", regional, instance_type="Standard_D4s_v5", region="westus2", zone=None))
