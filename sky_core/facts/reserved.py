"""How capacity that was reserved is named in a cloud: what a launch has to say to get into it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


def _all(_: str) -> bool:
    return True


@dataclass(frozen=True)
class Reservations:
    """What is known of a cloud's reservations without its SDK.

    Attributes:
        called: What the cloud calls one, for messages.
        name: The pattern of its name as a launch gives it.
        example: Such a name, for cures.
        zonal: Whether each is in one zone, which the launch then has to name.
        takes: From a machine type to whether such machines can be launched into one.
        held: ``module:function`` that lists what an account holds (:class:`~sky_core.clouds.reservations.Held`).
    """

    called: str
    name: re.Pattern[str]
    example: str
    zonal: bool
    held: str
    takes: Callable[[str], bool] = _all
