"""What a subscription of Azure has reserved."""

from __future__ import annotations

from collections.abc import Collection

from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.azure.provider import Azure
from sky_core.clouds.reservations import Holdings


def held(cloud: Azure, _: Collection[str] | None, __: Collection[str]) -> Holdings:
    """The reservations of all groups of the subscription, in all regions: one list tells of all groups.

    Raises:
        CloudError: if they may not be listed.
    """
    with cloud_errors():
        return Holdings(tuple(cloud._reservations.held()))
