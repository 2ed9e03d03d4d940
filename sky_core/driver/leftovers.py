"""What is ours beside machines and stays when they go: told by the clouds, not by our records."""

from __future__ import annotations

from sky_core.clouds.base import TAG_OWNER, Leftover, Leftovers
from sky_core.config import Settings
from sky_core.driver.step import Clouds
from sky_core.errors import CloudError
from sky_core.planner.market import usable_clouds
from sky_core.store import Store


def leftovers(settings: Settings, store: Store, *, remove: bool) -> Leftovers:
    """Ask every usable cloud; with ``remove``, delete what holds no data and nobody shares.

    What is shared (a firewall rule, a security group) costs nothing, and another store may be about to use it.
    """
    clouds = Clouds(settings)
    things: list[Leftover] = []
    unreachable: dict[str, str] = {}
    for name in usable_clouds(settings):
        try:
            found = clouds[name].leftovers({TAG_OWNER: store.id})
            things += found.things
            unreachable |= {f"{name}/{place}": why for place, why in found.unreachable.items()}
        except CloudError as error:
            unreachable[name] = str(error)
    for thing in things:
        if remove and not thing.holds_data and not thing.shared:
            try:
                clouds[thing.cloud].remove(thing)
            except CloudError as error:
                unreachable[f"{thing.cloud}/{thing.id}"] = f"could not be removed: {error}"
    return Leftovers(tuple(things), unreachable)
