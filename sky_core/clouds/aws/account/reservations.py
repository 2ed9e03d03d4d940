"""What an account on AWS has reserved."""

from __future__ import annotations

from collections.abc import Collection

from sky_core.clouds.aws.provider import Aws
from sky_core.clouds.aws.reservations import in_region
from sky_core.clouds.reservations import Holdings


def held(cloud: Aws, regions: Collection[str] | None, _: Collection[str]) -> Holdings:
    """What there is, in these regions or in all that the account may use, others' that are shared with it included.

    Raises:
        AuthError: if the login works nowhere.
    """
    looks = cloud._session.each_region(lambda region: list(in_region(cloud._session, region)), regions)
    return Holdings(tuple(one for found in looks.values() for one in found), looks.refused)
