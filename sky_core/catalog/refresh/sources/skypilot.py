"""SkyPilot-format CSV files: the schema of the dissertation's Table 4.1.

Columns InstanceType, vCPUs, MemoryGiB, AcceleratorName, AcceleratorCount, Region, Price, SpotPrice, and
AvailabilityZone where the cloud has zones. On GCP a row without InstanceType is a GPU to be attached: it is
priced on an n1-standard-8, like the catalog's own rows. Published at github.com/skypilot-org/skypilot-catalog.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sky_core.catalog.refresh.source import Progress, Row
from sky_core.catalog.refresh.web import fetch, read_csv
from sky_core.errors import BadSource

URL = "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8/{cloud}/vms.csv"
COLUMNS = {"InstanceType", "vCPUs", "MemoryGiB", "AcceleratorName", "AcceleratorCount", "Region", "Price", "SpotPrice"}
HOST = "n1-standard-8"
SPELLINGS = {"A100-80GB-SXM": "A100-80GB", "H100-80GB": "H100", "RTXPRO6000-BSE": "RTXPRO6000", "Gaudi HL-205": "Gaudi"}


class SkyPilotCsv:
    """One cloud's table, from SkyPilot's repository, a URL or a file."""

    complete = False

    def __init__(self, cloud: str, origin: str | None = None) -> None:
        self.cloud = cloud
        self.name = f"skypilot-{cloud}"
        self.origin = origin or URL.format(cloud=cloud)

    def rows(self, progress: Progress) -> Iterable[Row]:
        """The table's rows (see :class:`~sky_core.catalog.refresh.source.Source`)."""
        progress(self.origin)
        table = list(read_csv(self._read(), self.origin, COLUMNS))
        hosts = {_place(row): row for row in table if row["InstanceType"] == HOST and not row["AcceleratorName"]}
        for row in table:
            if row["InstanceType"] or row["AcceleratorName"].startswith("tpu"):
                yield self._row(row)
            elif host := hosts.get(_place(row)):
                sums = {name: _sum(row[name], host[name]) for name in ("Price", "SpotPrice")}
                shape = {name: host[name] for name in ("InstanceType", "vCPUs", "MemoryGiB")}
                yield self._row({**row, **sums, **shape})

    def _read(self) -> bytes:
        if "://" in self.origin:
            return fetch(self.origin)
        try:
            return Path(self.origin).read_bytes()
        except OSError as error:
            raise BadSource(f"{self.origin}: {error.strerror}") from None

    def _row(self, row: dict[str, str]) -> dict[str, Any]:
        zone = row.get("AvailabilityZone") or None
        name = row["AcceleratorName"]
        return {
            "cloud": self.cloud,
            "region": row["Region"],
            "zone": None if zone == row["Region"] else zone,
            "instance_type": row["InstanceType"] or "TPU-VM",
            "vcpus": row["vCPUs"],
            "memory_gib": row["MemoryGiB"],
            "accelerator": SPELLINGS.get(name, name),
            "accelerator_count": row["AcceleratorCount"],
            "price": row["Price"],
            "spot_price": row["SpotPrice"],
        }


def _place(row: dict[str, str]) -> tuple[str, str | None]:
    return row["Region"], row.get("AvailabilityZone")


def _sum(left: str, right: str) -> str:
    """Both prices together; what is no number is left for the check to reject."""
    try:
        return str(round(float(left) + float(right), 6)) if left and right else ""
    except ValueError:
        return left
