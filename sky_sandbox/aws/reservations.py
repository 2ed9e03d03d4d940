"""Capacity Reservations and Capacity Blocks of EC2: who gets into one, and what the API tells of them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

from moto.core.models import DEFAULT_ACCOUNT_ID

from sky_sandbox.aws.refusal import AwsError
from sky_sandbox.reservations import Reservation
from sky_sandbox.world import World

TARGET: ContextVar[str] = ContextVar("TARGET", default="")  # what the launch that is being answered names
TARGETS = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
PREFERS = "CapacityReservationSpecification.CapacityReservationPreference"
BLOCK = "capacity-block"
MALFORMED = re.compile(r"^(?!cr-[0-9a-f]{8}([0-9a-f]{9})?$)")


def enter(world: World, region: str, zone: str, type_: str, count: int, market: str) -> str:
    """The reservation that a launch gets into, "" for none.

    Raises:
        AwsError: if it names one that it cannot get into.
    """
    name = TARGET.get()
    if not name:
        if market == BLOCK:
            raise AwsError("InvalidParameterValue", "The market type (purchasing) option is not valid.")
        return "" if market == "spot" else world.reservations.fitting("aws", zone, type_, count)
    one = find(world, region, name)
    if (one.kind == "block") != (market == BLOCK) or market == "spot":
        why = "The market type (purchasing) option is not valid. Choose a different market type and try again"
        raise AwsError("InvalidParameterValue", why)
    if not world.reservations.takes(one, zone, type_, count):
        why = "The requested reservation does not have sufficient compatible and available capacity for this request."
        raise AwsError("ReservationCapacityExceeded", why)
    return one.id


def find(world: World, region: str, name: str) -> Reservation:
    """The reservation of that id in a region.

    Raises:
        AwsError: if there is none.
    """
    if MALFORMED.match(name):
        raise AwsError("InvalidCapacityReservationId.Malformed", f"Invalid id: '{name}'")
    one = world.reservations.find(name)
    if one is None or (one.cloud, one.region) != ("aws", region):
        why = f"The capacityReservation ID '{name}' does not exist"
        raise AwsError("InvalidCapacityReservationId.NotFound", why)
    return one


def describe(world: World, region: str, asked: Mapping[str, str]) -> bytes:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeCapacityReservations.html

    Raises:
        AwsError: if one of the ids asked for does not exist.
    """
    names = [value for key, value in asked.items() if key.startswith("CapacityReservationId.")]
    states = {value for key, value in asked.items() if key.startswith("Filter.1.Value.")}
    there = [one for one in world.reservations.known.values() if (one.cloud, one.region) == ("aws", region)]
    found = [find(world, region, name) for name in names] if names else there
    items = "".join(_item(world, one) for one in found if not states or _state(one) in states)
    return (
        '<DescribeCapacityReservationsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15">'
        f"<requestId>{uuid.uuid4()}</requestId><capacityReservationSet>{items}</capacityReservationSet>"
        "</DescribeCapacityReservationsResponse>"
    ).encode()


def _state(one: Reservation) -> str:
    return "expired" if one.over else "active"


def _item(world: World, one: Reservation) -> str:
    told = {
        "capacityReservationId": one.id,
        "ownerId": DEFAULT_ACCOUNT_ID,
        "capacityReservationArn": f"arn:aws:ec2:{one.region}:{DEFAULT_ACCOUNT_ID}:capacity-reservation/{one.id}",
        "availabilityZone": one.zone,
        "instanceType": one.type,
        "instancePlatform": "Linux/UNIX",
        "tenancy": "default",
        "totalInstanceCount": one.count,
        "availableInstanceCount": world.reservations.free(one),
        "ebsOptimized": "false",
        "ephemeralStorage": "false",
        "state": _state(one),
        "startDate": _time(one.created_at),
        "endDateType": "unlimited" if one.ends_at is None else "limited",
        "instanceMatchCriteria": "open" if one.kind == "open" else "targeted",
        "createDate": _time(one.created_at),
        "reservationType": BLOCK if one.kind == "block" else "default",
    } | ({} if one.ends_at is None else {"endDate": _time(one.ends_at)})
    return "<item>" + "".join(f"<{name}>{value}</{name}>" for name, value in told.items()) + "</item>"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}.000Z"
