"""The catalog that gpuhunt (dstack) publishes several times a day: a zip with one CSV per provider.

Format: github.com/dstackai/gpuhunt, ``RawCatalogItem`` in ``_internal/models.py``. ``location`` is a region or a
zone; spot and on-demand are rows of their own; memory is in GB as the clouds name it, that is GiB.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sky_core.catalog.refresh.source import Progress, Row
from sky_core.catalog.refresh.web import fetch, read_csv
from sky_core.errors import BadSource
from sky_core.facts import clouds as known_clouds
from sky_core.facts import facts_of

URL = "https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com/v2"
COLUMNS = {"instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot"}
BIGGER = {("A100", 80): "A100-80GB", ("V100", 32): "V100-32GB"}
"""gpuhunt tells these devices apart by their memory alone."""
MOST_BYTES = 512 * 2**20
TPU = re.compile(r"^v\d+\w*-\d+$")


class GpuHunt:
    """gpuhunt's published rows of the given clouds; of all if none are given."""

    complete = False
    name = "gpuhunt"

    def __init__(self, clouds: Sequence[str] = (), url: str = URL) -> None:
        self.clouds = tuple(clouds or known_clouds())
        self.url = url

    def rows(self, progress: Progress) -> Iterable[Row]:
        """The rows of all clouds (see :class:`~sky_core.catalog.refresh.source.Source`)."""
        version = fetch(f"{self.url}/version").decode("utf-8", "replace").strip()
        if not re.fullmatch(r"[\w.\-]{1,40}", version):
            raise BadSource(f"{self.url}/version: {version[:40]!r} is no version")
        origin = f"{self.url}/{version}/catalog.zip"
        progress(origin)
        try:
            with zipfile.ZipFile(io.BytesIO(fetch(origin))) as archive:
                tables = {cloud: self._member(archive, cloud, origin) for cloud in self.clouds}
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:  # all that zipfile raises
            raise BadSource(f"{origin}: {error}") from None
        for cloud, body in tables.items():
            progress(f"gpuhunt: {cloud}")
            for item in read_csv(body, f"{origin}/{cloud}.csv", COLUMNS):
                yield _row(cloud, item)

    @staticmethod
    def _member(archive: zipfile.ZipFile, cloud: str, origin: str) -> bytes:
        name = f"{cloud}.csv"
        if name not in archive.namelist():
            raise BadSource(f"{origin}: has no {name}")
        if archive.getinfo(name).file_size > MOST_BYTES:
            raise BadSource(f"{origin}: {name} is longer than {MOST_BYTES // 2**20} MiB")
        return archive.read(name)


def _row(cloud: str, item: dict[str, str]) -> dict[str, Any]:
    pattern = facts_of(cloud).zone
    zoned = pattern.match(item["location"]) if pattern else None
    name, tpu = item["gpu_name"], TPU.match(item["gpu_name"])
    spot = item["spot"].lower() == "true"
    return {
        "cloud": cloud,
        "region": zoned[1] if zoned else item["location"],
        "zone": item["location"] if zoned else None,
        "instance_type": "TPU-VM" if tpu else item["instance_name"],
        "vcpus": item["cpu"],
        "memory_gib": item["memory"],
        "accelerator": f"tpu-{name.replace('litepod', 'e')}"
        if tpu
        else BIGGER.get((name, _whole(item["gpu_memory"])), name),
        "accelerator_count": "" if item["gpu_count"] in ("0", "0.0") else item["gpu_count"],
        "spot_price" if spot else "price": item["price"],
    }


def _whole(text: str) -> int:
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        return 0
