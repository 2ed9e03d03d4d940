"""What was saved: by buying on spot, at today's on-demand prices; by choosing among clouds, by what was planned."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydantic import ValidationError

from sky_core.config import Settings
from sky_core.job.bill import cluster_hours
from sky_core.job.cost.document import Saved
from sky_core.overview.jobs import job_rows
from sky_core.planner.plan import Plan
from sky_core.store import Choice, Cluster, Store

ALL_RUNS = 1_000_000


def savings(store: Store, settings: Settings, since: float | None = None) -> Saved:
    """What runs that began since then and are over were planned to cost, have cost, and have saved.

    Reads the first plan of each of them: a millisecond or so a run.
    """
    choice = Choice(since=since)
    over = {line.key for line in store.run_lines(choice, limit=ALL_RUNS) if not line.live}
    rows = [row for row in job_rows(store, settings.scale, choice) if row.job.plan_key in over]
    spent = dict.fromkeys(over, 0.0)
    for row in rows:
        spent[row.job.plan_key] += row.spent.usd
    runs, planned, usd, moving = 0, 0.0, 0.0, 0.0
    for key in over:
        try:
            plan = Plan.model_validate_json(next(iter(store.plan_versions(key)), ""))
        except ValidationError:  # of another version
            continue
        runs, planned, usd = runs + 1, planned + plan.cost_usd, usd + spent[key]
        alone = plan.best_single_cloud()
        moving += alone[1] - plan.cost_usd if alone else 0.0
    by_spot = saved_by_spot((one for row in rows for one in row.spent.clusters), settings)
    return Saved(runs=runs, planned_usd=planned, usd=usd, by_moving_usd=moving, by_spot_usd=by_spot)


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
