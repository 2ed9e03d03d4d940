"""Machines of which there are so many: reserved ones, and one's own. Tasks that run at the same time share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering
from sky_core.facts import facts_of
from sky_core.optimizer import Limit
from sky_core.planner.candidates import Candidates
from sky_core.planner.nodes import Pool
from sky_core.planner.plan import Block, Placement
from sky_core.spec import Pipeline, Task
from sky_core.store import Cluster

LONGER = "reserve it for longer, allow machines that are not reserved, or split the task"


class Scarce(NamedTuple):
    """A pool and how many machines there are in it."""

    pool: Pool
    machines: int


def pools(catalog: Catalog) -> list[Scarce]:
    """All pools of the catalog."""
    rows = catalog.table.filter(pl.col("capacity").is_not_null()).select(*Pool._fields, "capacity")
    return [Scarce(Pool.of(row), row["capacity"]) for row in rows.iter_rows(named=True)]


def taken(scarce: Iterable[Scarce], clusters: Iterable[Cluster]) -> Mapping[Pool, int]:
    """How many machines of each pool these clusters hold."""
    known = {pool for pool, _ in scarce}
    held: Counter[Pool] = Counter()
    for cluster in clusters:
        pool = Pool.of(vars(cluster))
        if pool in known and not cluster.use_spot:
            held[pool] += cluster.num_nodes
    return held


def full(scarce: Sequence[Scarce], held: Mapping[Pool, int], num_nodes: int) -> tuple[Block, ...]:
    """Machines of one's own of which fewer than ``num_nodes`` are free: they will be, in a while."""
    return tuple(
        Block(
            cloud=pool.cloud,
            region=pool.region,
            zone=pool.zone,
            instance_type=pool.instance_type,
            reason=f"{held.get(pool, 0)} of {count} {pool.instance_type} in {pool.zone or pool.region} are taken",
            passing=True,
        )
        for pool, count in scarce
        if facts_of(pool.cloud).own and held.get(pool, 0) + num_nodes > count
    )


def not_begun(catalog: Catalog, now: float) -> Iterator[Block]:
    """Reservations that are to come: nothing is launched there before, and nothing planned."""
    rows = catalog.table.filter(pl.col("since") > now)
    for row in rows.select("cloud", "region", "zone", "instance_type", "reservation", "since").iter_rows(named=True):
        since = row.pop("since")
        yield Block(**row, reason="it begins then", until=since)


def limits(
    pipeline: Pipeline, candidates: Mapping[str, Candidates], counts: Mapping[Pool, int], held: Mapping[Pool, int]
) -> list[Limit]:
    """What tasks of the pipeline that run at the same time may take of each pool; none that cannot be exceeded.

    Args:
        counts: How many machines each pool has.
        held: What other pipelines hold of them.
    """
    found = []
    for pool, count in sorted(counts.items(), key=lambda item: str(item[0])):
        uses = {
            task.name: np.where(candidates[task.name].of(pool), float(task.num_nodes), 0.0) for task in pipeline.tasks
        }
        uses = {name: takes for name, takes in uses.items() if takes.any()}
        left = max(0, count - held.get(pool, 0))
        if sum(float(takes.max()) for takes in uses.values()) > left:
            place = f"{pool.cloud}/{pool.reservation or pool.zone or pool.region}"
            price = "" if pool.price is None else f" at ${pool.price:g}/h"
            found.append(Limit(f"{pool.instance_type}{price} in {place}", float(left), uses))
    return found


def lasting(task: Task, candidates: Candidates, now: float) -> Candidates:
    """The candidates whose machines are there until the task is done, were it begun now and took its hours at most.

    Raises:
        NoFeasibleOffering: if there is none.
    """
    late = now + 3600 * candidates.at_most > candidates.ends
    if not late.any():
        return candidates
    if late.all():
        nearest = [candidates.placement(row, task.name) for row in range(min(3, len(candidates)))]
        why = "; ".join(sorted({outlasts(place, now) for place in nearest}))
        message = f"Task.{task.name}: none of what fits is there until it is done: {why}"
        raise NoFeasibleOffering(task.name, "until", [place.machine for place in nearest], message, cure=LONGER)
    return candidates.only(~late)


def outlasts(place: Placement, now: float) -> str:
    """Why a placement's reservation is too short for it, were it begun now; empty if it is not."""
    hours = place.boot_hours + place.hours_at_most * (1 - place.done)
    if place.until is None or now + 3600 * hours <= place.until:
        return ""
    return f"{ending(place)}, and it may take {hours:.3g} h"


def price_after(place: Placement, catalog: Catalog) -> float | None:
    """USD per hour and machine when a placement's reservation has ended and its machine goes on: the price on demand.

    None where it does not end, or the catalog does not have that price.
    """
    if place.reservation is None or place.until is None:
        return None
    names = ("cloud", "region", "instance_type", "accelerator", "accelerator_count")
    alike = catalog.table.filter(
        pl.col("capacity").is_null(), *(pl.col(name).eq_missing(pl.lit(_of_kind(place, name))) for name in names)
    )
    here = alike.filter(pl.col("zone") == pl.lit(place.zone))
    price = (alike if here.is_empty() else here)["price"].min()
    return float(price) if isinstance(price, float) else None


def _of_kind(place: Placement, name: str) -> object:
    return (getattr(place, name) or None) if name == "accelerator_count" else getattr(place, name)


def ending(place: Placement) -> str:
    """When a placement's reservation ends, in words."""
    return f"{place.reservation} ends at {datetime.fromtimestamp(place.until or 0.0, UTC):%Y-%m-%d %H:%M} UTC"
