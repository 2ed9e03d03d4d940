"""How many machines there are: of some but so many, and what a task of many asks beyond what each of them has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sky_core.catalog import services
from sky_core.catalog.query import describe
from sky_core.errors import NoFeasibleOffering
from sky_core.facts import facts_of
from sky_core.spec import Resources, Task

if TYPE_CHECKING:
    import polars as pl

SHOWN = 3


class Pool(NamedTuple):
    """Equal machines of which there are so many.

    They are told from the cloud's others by the reservation that they are in, else by their price (USD per hour): what
    is reserved stays the same whatever it counts for.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    price: float | None
    reservation: str | None = None

    @classmethod
    def of(cls, it: Mapping[str, Any]) -> Pool:
        """That of a row of the catalog, a placement or a cluster, by the names of its fields."""
        pool = cls(*(it[name] for name in cls._fields))
        return pool if pool.reservation is None else pool._replace(price=None)


def networked(task: Task, clouds: Sequence[str]) -> list[str]:
    """Those of the clouds where its machines see each other, whenever they were launched.

    Raises:
        NoFeasibleOffering: if an elastic task may be in none of them.
    """
    if not task.elastic:
        return list(clouds)
    able = [cloud for cloud in clouds if facts_of(cloud).one_network]
    named = [cloud for cloud in clouds if cloud in {name for one in task.resources.alternatives for name in one.cloud}]
    if named and not set(named) & set(able):
        message = f"Task.{task.name}: elastic: machines cannot come and go in {' or '.join(named)}"
        cure = "take elastic out and write num_nodes, or allow a cloud where they are launched"
        raise NoFeasibleOffering(task.name, "elastic", (), message, cure=cure)
    return able


def enough(rows: pl.DataFrame, task: Task, wanted: Resources) -> pl.DataFrame:
    """Those of the rows of which there are as many machines as the task has, or may be made.

    Raises:
        NoFeasibleOffering: if there are of none.
    """
    import polars as pl

    if wanted.managed:
        return services.for_nodes(rows, task)
    if task.elastic:
        rows = _for_all(rows, task)
    if wanted.use_spot or task.num_nodes == 1:
        return rows
    left = rows.filter(pl.col("capacity").is_null() | (pl.col("capacity") >= task.num_nodes))
    if left.is_empty():
        most = rows.sort("capacity", descending=True, maintain_order=True).head(SHOWN)
        there = [f"{row['capacity']} of {describe(row, 'price')}" for row in most.iter_rows(named=True)]
        message = f"Task.{task.name}: num_nodes: {task.num_nodes} machines are more than there are: {', '.join(there)}"
        raise NoFeasibleOffering(task.name, "num_nodes", there, message, cure="take fewer, or allow other machines")
    return left


def _for_all(found: pl.DataFrame, task: Task) -> pl.DataFrame:
    """What is sold to all: most of an elastic gang's machines come and go with spot, at its price.

    Raises:
        NoFeasibleOffering: if nothing is.
    """
    left = found.filter(found["reservation"].is_null())
    if left.is_empty():
        message = f"Task.{task.name}: elastic: all that fits is reserved, and no elastic gang is launched there"
        raise NoFeasibleOffering(task.name, "elastic", (), message, cure="leave elastic out, or allow other machines")
    return left
