"""The catalog: what the clouds sell, where, at what price."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import polars as pl

from sky_core.catalog import custom, services
from sky_core.catalog.egress import EgressTable, Location
from sky_core.catalog.merge import overlay
from sky_core.catalog.names import only_elsewhere, resolve
from sky_core.catalog.query import query
from sky_core.catalog.refresh import shelf
from sky_core.catalog.snapshot import DATA, read_snapshot
from sky_core.catalog.usual import retires, spot_floor
from sky_core.config import Defaults
from sky_core.home import INVENTORY, default_home
from sky_core.inventory import Inventory
from sky_core.spec import Resources


class Catalog:
    """Offerings of all clouds as one table, and the price of moving data between them.

    >>> from sky_core.spec import Resources
    >>> candidates = Catalog.embedded().query(Resources(accelerators="V100:4"))
    >>> candidates["instance_type"][0]
    'n1-standard-8'

    Attributes:
        table: One row per source, (cloud, region, zone, instance type, accelerator, count), with the columns of
            :data:`~sky_core.catalog.schema.SCHEMA`. Prices are USD per hour, null where unknown; ``zone`` is
            null where it is not known which zones of the region offer the type. Cheapest first.
        version: Changes whenever a row changes; plans remember it.
        usual: What a query that leaves something open gets; None for all that is sold.
    """

    def __init__(self, table: pl.DataFrame, egress: EgressTable, version: str, usual: Defaults | None = None) -> None:
        # Sorting is most of what a query would cost: the table is kept sorted, and filters keep the order.
        self.table = table.sort("price", nulls_last=True, maintain_order=True)
        self.version = version
        self.usual = usual
        self._egress = egress

    @staticmethod
    @cache
    def embedded() -> Catalog:
        """The snapshot that ships with the package; needs no network and no home."""
        digest = _digest(DATA / f"{name}.parquet" for name in ("rates", "shapes", "zones", "regions"))
        return Catalog(read_snapshot(), EgressTable.embedded(), f"embedded-{digest}")

    @classmethod
    def load(cls, home: Path | None = None) -> Catalog:
        """The snapshot with what a home holds besides: refreshed prices, custom rows, enabled regions.

        Args:
            home: The home, by default ``$SKYLOOM_HOME`` or ``~/.skyloom``; it need not exist.

        Raises:
            SpecError: if ``catalog.toml`` there cannot be meant.
        """
        home = default_home() if home is None else home
        embedded = cls.embedded()
        refreshed = shelf.read(home)
        inventory = Inventory.read(home)
        brought = custom.brought_along()
        if not refreshed and inventory == Inventory() and brought.is_empty():
            return embedded
        table = pl.concat([embedded.table, brought])
        for rows in refreshed:
            places = rows.table.select("cloud", "region").unique().rows() if rows.complete else []
            table = overlay(table, rows.table, places)
        may_use = pl.col("region").is_in(list(inventory.enabled_regions))
        table = table.with_columns(pl.when(may_use).then(None).otherwise("access").alias("access"))
        files = [*sorted((home / shelf.FOLDER).glob("[!.]*.parquet")), home / INVENTORY]
        version = f"{embedded.version}+{_digest((path for path in files if path.exists()), brought.write_ndjson())}"
        return cls(pl.concat([table, custom.table(inventory)]), embedded._egress, version)

    def query(self, resources: Resources, *, task: str = "task", clouds: Sequence[str] | None = None) -> pl.DataFrame:
        """The candidates for one machine of a task, cheapest first by the price that counts (spot or on demand).

        Left out are rows whose price of that kind is unknown, machines that their cloud has withdrawn, and regions
        that an account has to ask for, unless ``region`` names them in full. Without ``accelerators``, machines
        with accelerators are candidates only if ``instance_type`` names them.

        Args:
            resources: What is needed.
            task: Name of the task, for messages.
            clouds: The clouds that may be used, or None for all.

        Raises:
            UnknownAccelerator: if no cloud sells an accelerator of that name.
            NoFeasibleOffering: if no row is left; says which field emptied the list, and what would come next.
        """
        if resources.managed is None:
            return query(self.table, resources, task, clouds, self.usual)
        machines = services.sold(self.table, resources, task)
        return services.named(query(machines, resources, task, clouds, self.usual), resources)

    def check_names(self, resources: Resources, *, task: str = "task") -> None:
        """Refuse misspelt accelerators: that another alternative can be had does not make them right.

        Raises:
            UnknownAccelerator: if no cloud, here or elsewhere, sells an accelerator that an alternative names.
        """
        for wanted in resources.alternatives:
            for name, _ in wanted.accelerators:
                if not only_elsewhere(name, self.accelerators):
                    resolve(name, self.accelerators, task)

    def ended(self, resources: Resources, clouds: Sequence[str] | None = None) -> dict[str, str]:
        """Accelerators that fit, and when their machines end or have ended, where :meth:`query` leaves those out.

        Raises:
            UnknownAccelerator, NoFeasibleOffering: as :meth:`query`.
        """
        rows = query(self.table, resources, "", clouds).select("accelerator", "labels").unique().drop_nulls()
        left = self.query(resources, clouds=clouds)["accelerator"].unique().to_list()
        days = {name: day for name, labels in rows.sort("accelerator").iter_rows() if (day := retires(labels))}
        return {name: day for name, day in days.items() if name not in left}

    def with_defaults(self, usual: Defaults) -> Catalog:
        """The same catalog for tasks that do not say everything: see :mod:`sky_core.catalog.usual`."""
        table = spot_floor(self.table, usual, datetime.now(UTC).date())
        return Catalog(table, self._egress, self.version, usual)

    def within(self, regions: Mapping[str, Sequence[str]]) -> Catalog:
        """The same catalog with only those regions of some clouds, by patterns such as ``eu-*``."""
        kept = pl.lit(True)
        for cloud, patterns in regions.items():
            there = pl.col("region").cast(pl.String)
            known = self.table.filter(pl.col("cloud").cast(pl.String) == cloud).select(there.unique())["region"]
            allowed = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
            kept &= (pl.col("cloud").cast(pl.String) != cloud) | there.is_in(allowed)
        return Catalog(self.table.filter(kept), self._egress, self.version, self.usual)

    def egress(self, locations: Sequence[Location], gb: float) -> tuple[np.ndarray, np.ndarray]:
        """``(L, L)`` USD and hours to move ``gb`` (10^9 bytes) from each row's to each column's location.

        A location is ``(cloud, region, zone)``; zone None stands for an object store of the region.
        """
        return self._egress.matrices(locations, gb)

    def egress_per_gb(self, locations: Sequence[Location]) -> tuple[np.ndarray, np.ndarray, float]:
        """``(L, L)`` USD and hours for each GB, and up to how many GB at a time that is the price of all of them."""
        return self._egress.per_gb(locations)

    @cached_property
    def accelerators(self) -> tuple[str, ...]:
        """The names of all accelerators."""
        return tuple(sorted(name for name in self.table["accelerator"].unique() if name is not None))


def _digest(files: Iterable[Path], more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
