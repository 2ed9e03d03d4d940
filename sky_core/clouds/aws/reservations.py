"""On-Demand Capacity Reservations and Capacity Blocks for ML: how a launch gets into one, and which there are.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-reservations.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from sky_core.clouds.aws.session import Session
from sky_core.clouds.reservations import Held
from sky_core.errors import AuthError

Json = dict[str, Any]
log = logging.getLogger(__name__)

BLOCK = "capacity-block"
# "capacity-blocks-how": EC2 begins to terminate instances 30 minutes before a block ends, 60 those of an UltraServer.
TAKEN_BACK_S: Mapping[bool, float] = {False: 30 * 60.0, True: 60 * 60.0}
USABLE = {"Name": "state", "Values": ["active", "scheduled", "pending"]}


class Reservations:
    """How launches name reservations."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._blocks: dict[tuple[str, str], bool] = {}  # (region, id) -> whether it is a Capacity Block

    def target(self, region: str, name: str) -> Json:
        """What RunInstances says to be in a reservation and nowhere else.

        A preference beside the target would be refused. A Capacity Block is a market of its own: without its name, and
        with it for a reservation of the other kind, EC2 answers that the market type is not valid.

        Raises:
            CloudError: what EC2 says of the reservation; that it may not be looked at is left for the launch to meet.
        """
        if (region, name) not in self._blocks:
            try:
                with self._session.errors(region):
                    client = self._session.client("ec2", region)
                    found = client.describe_capacity_reservations(CapacityReservationIds=[name])
            except AuthError as error:
                if error.code != "UnauthorizedOperation":
                    raise
                log.warning("%s is taken for no Capacity Block: %s", name, error)
                found = {"CapacityReservations": []}
            self._blocks[region, name] = any(_is_block(one) for one in found["CapacityReservations"])
        body: Json = {
            "CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": name}}
        }
        if self._blocks[region, name]:
            body["InstanceMarketOptions"] = {"MarketType": BLOCK}
        return body


def in_region(session: Session, region: str) -> Iterator[Held]:
    """What the account holds in a region."""
    with session.errors(region):
        pages = session.client("ec2", region).get_paginator("describe_capacity_reservations")
        for page in pages.paginate(Filters=[USABLE]):
            yield from (_held(region, one) for one in page["CapacityReservations"])


def _held(region: str, one: Json) -> Held:
    ends = one["EndDate"].timestamp() if one.get("EndDate") else None
    if ends is not None and _is_block(one):
        ends -= TAKEN_BACK_S[one["InstanceType"].startswith(("p6e-", "trn2u."))]
    kind = "Capacity Block" if _is_block(one) else f"{one.get('InstanceMatchCriteria', 'open')} Capacity Reservation"
    if one["State"] != "active":
        kind += f", {one['State']}"
    return Held(
        name=one["CapacityReservationId"],
        cloud="aws",
        region=region,
        zone=one["AvailabilityZone"],
        instance_type=one["InstanceType"],
        total=one["TotalInstanceCount"],
        free=one["AvailableInstanceCount"],
        begins=one["StartDate"].timestamp() if one["State"] != "active" and one.get("StartDate") else None,
        ends=ends,
        kind=kind,
    )


def _is_block(one: Json) -> bool:
    return bool(one.get("ReservationType") == BLOCK)
