"""What buying on spot has saved: the same machine hours at the on-demand prices of today's catalog."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sky_core.config import Settings
from sky_core.job.bill import cluster_hours
from sky_core.overview.jobs import job_rows
from sky_core.store import Choice, Cluster, Store


def on_demand_usd(store: Store, settings: Settings, key: str) -> float | None:
    """What a run would have cost, had each of its machines been bought on demand.

    None if it was, or if the catalog has no such price.
    """
    rows = job_rows(store, settings.scale, Choice(runs=(key,)))
    saved = saved_by_spot((one for row in rows for one in row.spent.clusters), settings)
    return None if saved is None else sum(row.spent.usd for row in rows) + saved


def saved_by_spot(clusters: Iterable[Cluster], settings: Settings) -> float | None:
    """USD by which machines on spot were cheaper than the same on demand.

    None if there were none, or if the catalog has no on-demand price of one of them.
    """
    bought = [one for one in clusters if one.use_spot and one.launched_at is not None]
    if not bought:
        return None
    prices, now = _prices(bought, settings), time.time()
    if any(_kind(one) not in prices for one in bought):
        return None
    return sum(cluster_hours(one, settings.scale, now) * (prices[_kind(one)] - one.price) for one in bought)


Kind = tuple[str, str, str, str | None]  # cloud, region, instance type, accelerator


def _kind(cluster: Cluster) -> Kind:
    return cluster.cloud, cluster.region, cluster.instance_type, cluster.accelerator


def _prices(clusters: Iterable[Cluster], settings: Settings) -> dict[Kind, float]:
    """USD per hour and machine, on demand, of each kind that the catalog has."""
    import polars as pl

    from sky_core.planner.market import load_catalog

    table = load_catalog(settings.home).table
    names = ("cloud", "region", "instance_type", "accelerator")
    wanted = {name: {getattr(one, name) for one in clusters} for name in names[:3]}
    rows = table.filter(*(pl.col(name).cast(pl.String).is_in(list(values)) for name, values in wanted.items()))
    found = rows.group_by(names).agg(pl.col("price").min()).filter(pl.col("price").is_not_null())
    return {(cloud, region, kind, accelerator): usd for cloud, region, kind, accelerator, usd in found.iter_rows()}
