"""Rows of one's own (:mod:`sky_core.inventory`) as rows of the catalog."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl

from sky_core.catalog.names import device_memory_gib
from sky_core.catalog.schema import SCHEMA, format_labels
from sky_core.inventory import Inventory, Machines
from sky_core.spec import Resources

SOURCE = "custom"


def table(inventory: Inventory) -> pl.DataFrame:
    """The machines of one's own, a row for each entry."""
    now = datetime.now(UTC)
    return pl.DataFrame([_row(entry, now) for entry in inventory.machines], schema=dict(SCHEMA))


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
        "source": SOURCE,
        "as_of": as_of.date(),
    }
