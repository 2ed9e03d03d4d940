"""Capacity Reservations and Capacity Blocks of EC2 through boto3: who gets in, what is refused, what is billed."""

from __future__ import annotations

from typing import Any

import pytest

from sky_core.clouds import connect, holdings
from sky_core.clouds.base import Cloud, LaunchRequest
from sky_core.errors import CapacityError, InvalidRequest
from tests.conftest import Sandbox, until
from tests.sandbox.ssh import request

ZONE = "us-east-1a"


@pytest.fixture(scope="module")
def aws(shared_sandbox: Sandbox) -> Cloud:
    return connect("aws", shared_sandbox.settings)


def into(token: str, reservation: str | None, **changes: Any) -> LaunchRequest:
    return request(token, use_spot=False, reservation=reservation, **changes)


def billed(sandbox: Sandbox) -> list[tuple[str, str]]:
    """What costs money at this moment, disks and addresses aside."""
    open_now = sandbox.control.ledger(open_only=True)
    return sorted((entry["kind"], entry["id"]) for entry in open_now if entry["kind"] in ("machine", "reservation"))


def running(cloud: Cloud, ids: list[str]) -> bool:
    return {one.state for one in cloud.describe(ids)} == {"running"}


def test_a_launch_that_names_a_reservation_is_in_it_and_costs_nothing_more(
    sandbox: Sandbox, aws: Cloud, token: str
) -> None:
    reservation = sandbox.control.reserve("aws", ZONE, "m5.large", 2)
    sandbox.control.capacity(ZONE, "m5.large", "on-demand", 0)
    ids = [one.id for one in aws.launch(into(token, reservation, num_nodes=2))]
    until(lambda: running(aws, ids))
    assert billed(sandbox) == [("reservation", reservation)]
    with pytest.raises(CapacityError, match="ReservationCapacityExceeded") as full:
        aws.launch(into(f"{token}-more", reservation))
    assert full.value.scope == "reservation"
    aws.terminate(ids)
    until(lambda: not sandbox.live())
    assert aws.launch(into(f"{token}-again", reservation))


def test_only_who_names_a_targeted_reservation_gets_in_and_an_open_one_takes_all_that_fit(
    sandbox: Sandbox, aws: Cloud, token: str
) -> None:
    sandbox.control.reserve("aws", ZONE, "m5.large")
    [bought] = aws.launch(into(token, None))
    until(lambda: running(aws, [bought.id]))
    assert ("machine", bought.id.partition("/")[2]) in billed(sandbox)
    sandbox.control.reserve("aws", ZONE, "m5.xlarge", kind="open")
    [paid] = aws.launch(into(f"{token}-open", None, instance_type="m5.xlarge"))
    until(lambda: running(aws, [paid.id]))
    assert ("machine", paid.id.partition("/")[2]) not in billed(sandbox)


def test_what_a_reservation_does_not_hold_is_refused_for_it_alone(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    reservation = sandbox.control.reserve("aws", ZONE, "m5.large")
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (CapacityError, {"zone": "us-east-1b"}),
        (CapacityError, {"instance_type": "m5.xlarge"}),
        (InvalidRequest, {"region": "us-west-2", "zone": "us-west-2a"}),
    ]
    for number, (kind, changes) in enumerate(wrong):
        with pytest.raises(kind) as refused:
            aws.launch(into(f"{token}-{number}", reservation, **changes))
        assert refused.value.scope == "reservation"  # type: ignore[attr-defined]
    with pytest.raises(InvalidRequest, match=r"InvalidCapacityReservationId.NotFound.*skyloom catalog reserv") as none:
        aws.launch(into(f"{token}-none", "cr-0123456789abcdef0"))
    assert none.value.scope == "reservation"
    sandbox.control.unreserve(reservation)
    with pytest.raises(CapacityError) as over:
        aws.launch(into(f"{token}-over", reservation))
    assert over.value.scope == "reservation"
    assert sandbox.live() == []


def test_the_end_of_a_capacity_block_takes_its_machines_along_and_that_of_a_reservation_bills_them(
    sandbox: Sandbox, aws: Cloud, token: str
) -> None:
    block = sandbox.control.reserve("aws", ZONE, "m5.large", kind="block")
    plain = sandbox.control.reserve("aws", ZONE, "m5.xlarge")
    [inside] = aws.launch(into(token, block))
    [other] = aws.launch(into(f"{token}-other", plain, instance_type="m5.xlarge"))
    until(lambda: running(aws, [inside.id, other.id]))
    assert billed(sandbox) == [("reservation", plain)], "a block was paid in advance"
    sandbox.control.unreserve(block)
    sandbox.control.unreserve(plain)
    until(lambda: aws.describe([inside.id])[0].state == "gone")
    assert not aws.describe([inside.id])[0].preempted
    assert running(aws, [other.id])
    assert billed(sandbox) == [("machine", other.id.partition("/")[2])]


def test_without_the_right_to_look_a_reservation_is_used_all_the_same_and_a_block_is_refused(
    sandbox: Sandbox, token: str
) -> None:
    plain = sandbox.control.reserve("aws", ZONE, "m5.large")
    block = sandbox.control.reserve("aws", ZONE, "m5.large", kind="block")
    sandbox.control.fault("aws", "DescribeCapacityReservations", "error", code="UnauthorizedOperation", times=2)
    aws = connect("aws", sandbox.settings)
    assert aws.launch(into(token, plain))
    with pytest.raises(InvalidRequest, match="market type") as refused:
        aws.launch(into(f"{token}-block", block))
    assert refused.value.scope == "reservation"


def test_the_account_tells_what_it_holds(sandbox: Sandbox, aws: Cloud, token: str) -> None:
    plain = sandbox.control.reserve("aws", ZONE, "m5.large", 3)
    block = sandbox.control.reserve("aws", "us-west-2a", "p5.48xlarge", kind="block", ends_s=7200)
    aws.launch(into(token, plain))
    found = {one.name: one for one in holdings("aws", sandbox.settings).held}
    assert (found[plain].total, found[plain].free, found[plain].ends) == (3, 2, None)
    assert (found[plain].zone, found[plain].kind) == (ZONE, "targeted Capacity Reservation")
    ends = found[block].ends
    assert ends is not None
    [made] = [entry for entry in sandbox.control.reservations() if entry["id"] == block]
    assert made["ends_at"] - ends == pytest.approx(1800, abs=2), "its machines go half an hour before it does"
    sandbox.control.unreserve(block)
    assert block not in {one.name for one in holdings("aws", sandbox.settings, ["us-west-2"]).held}
