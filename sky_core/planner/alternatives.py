"""Which of a task's alternatives a placement was chosen for: a launch takes its image, disk, ports and tags."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from sky_core.catalog.names import squeeze
from sky_core.facts.managed import is_managed, parts
from sky_core.planner.plan import Placement
from sky_core.spec import Resources


def alternative(resources: Resources, place: Placement) -> Resources:
    """The first alternative that asks for such a place; the first of all if none does."""
    return next((wanted for wanted in resources.alternatives if _asks_for(wanted, place)), resources.alternatives[0])


def _asks_for(wanted: Resources, place: Placement) -> bool:
    if (wanted.managed is not None) != is_managed(place.instance_type):
        return False
    names = {"cloud": place.cloud, "region": place.region, "instance_type": parts(place.instance_type)[1]}
    named = all(_named(getattr(wanted, field), name) for field, name in names.items())
    # A cloud that chooses the zone itself is told none.
    zone = place.zone is None or _named(wanted.zone, place.zone)
    return named and zone and (wanted.use_spot or not place.use_spot) and _accelerated(wanted, place)


def _named(patterns: Sequence[str], name: str) -> bool:
    return not patterns or any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _accelerated(wanted: Resources, place: Placement) -> bool:
    if not wanted.accelerators:
        return place.accelerator is None or bool(wanted.instance_type)
    here = squeeze(place.accelerator or ""), place.accelerator_count
    return any((squeeze(name), count) == here for name, count in wanted.accelerators)
