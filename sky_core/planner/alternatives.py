"""A task's alternatives: in which markets each is looked for, and which one a placement was chosen for.

A launch takes that one's image, disk, ports, tags and time to wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sky_core.catalog.names import squeeze
from sky_core.facts import facts_of
from sky_core.facts.managed import is_managed, parts
from sky_core.planner.plan import Placement
from sky_core.spec import Resources

if TYPE_CHECKING:
    import polars as pl


def in_each_market(resources: Resources) -> Iterator[tuple[Resources, str, bool]]:
    """Each alternative in each market that it may use, with the column of that market's price."""
    for wanted in resources.alternatives:
        if wanted.use_spot:
            yield wanted, "spot_price", True
        yield wanted, "price", False


def alternative(resources: Resources, place: Placement) -> Resources:
    """The first alternative that asks for such a place; the first of all if none does."""
    return next((wanted for wanted in resources.alternatives if _asks_for(wanted, place)), resources.alternatives[0])


def queue_hours(resources: Resources, place: Placement) -> float:
    """Hours for which a launch there may wait in its cloud's own queue; 0 if it is had at once, or not."""
    return _waits(alternative(resources, place), place.cloud, place.instance_type, place.use_spot, place.reservation)


def queue_column(found: pl.DataFrame, wanted: Resources, use_spot: bool) -> pl.Expr | pl.Series:
    """The same for each row of what is sold for an alternative in a market."""
    import polars as pl

    if wanted.queue is None:
        return pl.lit(0.0)
    rows = found.select(pl.col("cloud", "instance_type", "reservation").cast(pl.String)).iter_rows()
    return pl.Series([_waits(wanted, cloud, kind, use_spot, held) for cloud, kind, held in rows], dtype=pl.Float64)


def _waits(wanted: Resources, cloud: str, instance_type: str, use_spot: bool, reservation: str | None) -> float:
    # What is reserved has no queue.
    if wanted.queue is None or reservation is not None:
        return 0.0
    return min(wanted.queue, facts_of(cloud).queue_hours(instance_type, use_spot))


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
