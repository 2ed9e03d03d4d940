"""What services that run engines sell: the machines of their clouds, each with the service's fee on its price.

No rows of their own are kept, so that prices which are refreshed, and those of zones, count here as well.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import polars as pl

from sky_core.catalog.schema import SCHEMA
from sky_core.errors import NoFeasibleOffering
from sky_core.facts import clouds
from sky_core.facts.managed import SLASH, Managed
from sky_core.measures.versions import allows
from sky_core.spec import Resources, Task


def sold(table: pl.DataFrame, wanted: Resources, task: str) -> pl.DataFrame:
    """The machines of ``table`` that services take which run what is wanted, by the machines' names, with their fees.

    Services are asked for on demand: a lost machine may end a cluster whose data it holds.

    Raises:
        NoFeasibleOffering: if no service runs it, in that version and cloud.
    """
    found = [(name, service) for name, service in _services(wanted) if release(service, wanted) is not None]
    if not found:
        raise _nobody(wanted, task)
    rows = pl.concat([_with_fee(table, name, service) for name, service in found])
    return rows.sort("price", nulls_last=True, maintain_order=True)


def named(rows: pl.DataFrame, wanted: Resources) -> pl.DataFrame:
    """The same rows by the names of what the services sell."""
    releases = {name: release(service, wanted) for name, service in _services(wanted)}
    prefix = pl.col("cloud").cast(pl.String).replace_strict(releases, return_dtype=pl.String)
    name = pl.concat_str([prefix, pl.lit(SLASH), pl.col("instance_type").cast(pl.String)])
    return rows.with_columns(name.cast(SCHEMA["instance_type"]).alias("instance_type"))


def for_nodes(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Those of the rows, by what services sell, of services that make clusters of as many machines as the task has.

    Raises:
        NoFeasibleOffering: if none does.
    """
    wanted = task.num_nodes
    takes = [name for name, facts in clouds().items() if any(service.takes(wanted) for service in facts.managed)]
    left = rows.filter(pl.col("cloud").cast(pl.String).is_in(takes))
    if left.is_empty():
        message = f"Task.{task.name}: num_nodes: no service that fits makes a cluster of {wanted} machines"
        raise NoFeasibleOffering(task.name, "num_nodes", (), message, cure="take 1, or 3 or more")
    return left


def release(service: Managed, wanted: Resources) -> str | None:
    """The newest release of a service that has the version which is wanted."""
    fitting = (name for name, version in service.releases.items() if allows(wanted.version or ">=0", version))
    return next(fitting, None)


def _services(wanted: Resources) -> list[tuple[str, Managed]]:
    """Those that run the engine, each with its cloud; a cloud has one for each engine."""
    return [
        (name, service)
        for name, facts in clouds().items()
        for service in facts.managed
        if service.engine == wanted.managed
        and (not wanted.cloud or any(fnmatchcase(name, pattern) for pattern in wanted.cloud))
    ]


def _with_fee(table: pl.DataFrame, cloud: str, service: Managed) -> pl.DataFrame:
    names = pl.col("instance_type").cast(pl.String)
    rows = table.filter(
        pl.col("cloud").cast(pl.String) == cloud,
        pl.col("accelerator").is_null(),
        pl.col("reservation").is_null(),  # a service launches its machines itself, and names none
        names.str.contains(service.machines.pattern),
    )
    fee = pl.col("vcpus") * service.fee_per_vcpu
    if service.fee_of_price:
        home = rows.filter(pl.col("region").cast(pl.String) == service.fee_region)
        home = home.group_by("instance_type").agg(pl.col("price").max().alias("home_price"))
        rows = rows.join(home, on="instance_type", how="left", maintain_order="left")
        share = pl.coalesce("home_price", "price") * service.fee_of_price
        limited = names.str.contains(service.fee_limited)
        fee += pl.when(limited).then(pl.min_horizontal(share, pl.lit(service.fee_at_most))).otherwise(share)
    nothing = pl.lit(None, SCHEMA["spot_price"])
    return rows.with_columns((pl.col("price") + fee).round(6).alias("price"), nothing.alias("spot_price")).select(
        *SCHEMA
    )


def _nobody(wanted: Resources, task: str) -> NoFeasibleOffering:
    there = _services(wanted)
    everywhere = _services(wanted.model_copy(update={"cloud": ()}))
    if not there:
        sellers = ", ".join(f"{service.called} ({name})" for name, service in everywhere)
        message = (
            f"Task.{task}: managed: no service for {wanted.managed} in {' or '.join(wanted.cloud)}; there is {sellers}"
        )
        return NoFeasibleOffering(task, "managed", (), message, cure="name another cloud, or leave managed out")
    offered = "; ".join(f"{service.called} has {', '.join(service.releases.values())}" for _, service in there)
    message = f"Task.{task}: version: no service has {wanted.managed} {wanted.version}: {offered}"
    return NoFeasibleOffering(task, "version", (), message, cure="allow one of these")
