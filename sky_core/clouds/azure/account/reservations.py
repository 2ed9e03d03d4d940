"""What a subscription of Azure has reserved."""

from __future__ import annotations

from collections.abc import Collection

from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.azure.provider import Azure
from sky_core.clouds.reservations import Holdings


def held(cloud: Azure, regions: Collection[str] | None, _: Collection[str]) -> Holdings:
    """The reservations of all groups of the subscription, those in these regions if any are named.

    Raises:
        CloudError: if they may not be listed.
    """
    with cloud_errors():
        found = list(cloud._reservations.held())
    return Holdings(tuple(one for one in found if regions is None or one.region in regions))
