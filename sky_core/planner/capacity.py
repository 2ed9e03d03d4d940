"""Machines of which there are so many: reserved ones, and one's own. Tasks that run at the same time share them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from sky_core.catalog import Catalog
from sky_core.facts import facts_of
from sky_core.optimizer import Limit
from sky_core.planner.candidates import Candidates
from sky_core.planner.offers import Pool
from sky_core.planner.plan import Block
from sky_core.spec import Pipeline
from sky_core.store import Cluster


class Scarce(NamedTuple):
    """A pool and how many machines there are in it."""

    pool: Pool
    machines: int


def pools(catalog: Catalog) -> list[Scarce]:
    """All pools of the catalog."""
    names = [pl.col(name).cast(pl.String) for name in ("cloud", "region", "zone", "instance_type")]
    rows = catalog.table.filter(pl.col("capacity").is_not_null()).select(*names, "price", "capacity")
    return [Scarce(Pool(*row[:5]), row[5]) for row in rows.iter_rows()]


def taken(scarce: Iterable[Scarce], clusters: Iterable[Cluster]) -> Mapping[Pool, int]:
    """How many machines of each pool these clusters hold."""
    known = {pool for pool, _ in scarce}
    held: Counter[Pool] = Counter()
    for cluster in clusters:
        pool = Pool(cluster.cloud, cluster.region, cluster.zone, cluster.instance_type, cluster.price)
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
            name = f"{pool.instance_type} at ${pool.price:g}/h in {pool.cloud}/{pool.zone or pool.region}"
            found.append(Limit(name, float(left), uses))
    return found
