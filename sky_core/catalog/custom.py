"""Rows of one's own (:mod:`sky_core.inventory`), and those that packages bring along, as rows of the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any

import polars as pl
from pydantic import ValidationError

from sky_core.catalog.names import device_memory_gib
from sky_core.catalog.schema import SCHEMA, format_labels
from sky_core.errors import SpecError
from sky_core.facts import clouds
from sky_core.inventory import Inventory, Machines
from sky_core.spec import Resources

SOURCE = "custom"


def table(inventory: Inventory) -> pl.DataFrame:
    """The machines of one's own, a row for each entry."""
    return _table(inventory.machines, SOURCE)


@cache
def brought_along() -> pl.DataFrame:
    """What the clouds sell that installed packages add.

    Raises:
        SpecError: if a package cannot tell, or a row of its cannot be meant: names the cloud.
    """
    found = [pl.DataFrame(schema=dict(SCHEMA))]
    for name, facts in clouds().items():
        if facts.offerings:
            module, _, function = facts.offerings.partition(":")
            rows = getattr(import_module(module), function)()
            try:
                machines = [Machines.model_validate({"cloud": name, **row}) for row in rows]
            except ValidationError as error:
                raise SpecError(f"{name}: what {facts.offerings} gives cannot be meant: {error}") from None
            found.append(_table(machines, name))
    return pl.concat(found)


def _table(machines: Iterable[Machines], source: str) -> pl.DataFrame:
    now = datetime.now(UTC)
    rows = [_row(entry, now) | {"source": source} for entry in machines]
    return pl.DataFrame(rows, schema=dict(SCHEMA))


def _row(entry: Machines, as_of: datetime) -> dict[str, Any]:
    pairs = Resources(accelerators=entry.accelerators).accelerators
    accelerator, count = pairs[0] if pairs else (None, None)
    return {
        **entry.model_dump(include={"cloud", "region", "zone", "instance_type", "vcpus", "memory_gib", "arch"}),
        "accelerator": accelerator,
        "accelerator_count": count,
        "device_memory_gib": device_memory_gib(accelerator) if accelerator else None,
        "price": entry.price,
        "spot_price": entry.spot_price,
        "labels": format_labels(entry.labels),
        "capacity": entry.capacity,
        "reservation": entry.reservation,
        "since": entry.since.timestamp() if entry.since else None,
        "until": entry.until.timestamp() if entry.until else None,
        "as_of": as_of.date(),
    }
