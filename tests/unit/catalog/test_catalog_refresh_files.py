"""Refreshing from published files, choosing sources, and one refresh after the other."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from sky_core.catalog import Catalog
from sky_core.catalog.refresh import refresh
from sky_core.catalog.refresh.choose import sources
from sky_core.catalog.refresh.sources.gpuhunt import GpuHunt
from sky_core.catalog.refresh.sources.skypilot import SkyPilotCsv
from sky_core.config import Settings
from sky_core.errors import SpecError
from tests.unit.catalog.catalog_server import KNOWN, Pages, offerings, run, serve


@pytest.fixture
def pages() -> Iterator[Pages]:
    with serve() as served:
        yield served


# --- SkyPilot's CSV files -------------------------------------------------------------------------------------

SKYPILOT_GCP = """\
InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Region,AvailabilityZone,Price,SpotPrice
n1-standard-8,8.0,30.0,,,,us-central1,us-central1-a,0.37,0.08
,,,V100,1.0,,us-central1,us-central1-a,2.4,0.7
,,,tpu-v3-8,1,,us-central1,us-central1-a,7.5,2.0
n9-standard-8,8.0,32.0,,,,us-central1,us-central1-a,0.31,
"""


def test_a_table_in_skypilots_format(pages: Pages, tmp_path: Path) -> None:
    pages.replies["/gcp/vms.csv"] = SKYPILOT_GCP.encode()
    result = run(tmp_path, SkyPilotCsv("gcp", f"{pages.url}/gcp/vms.csv"))
    assert (result.rows, result.refused, dict(result.rejected)) == (4, "", {})
    assert result.changed == 3
    here = offerings(tmp_path, accelerators=["V100", "tpu-v3-8"], zone="us-central1-a")
    attached = here["us-central1", "us-central1-a", "n1-standard-8"]
    assert (attached["price"], attached["spot_price"]) == pytest.approx((2.77, 0.78))  # the host's and the GPU's
    assert "attached=true" in attached["labels"]
    assert here["us-central1", "us-central1-a", "TPU-VM"]["price"] == 7.5
    new = offerings(tmp_path, instance_type="n9-standard-8")["us-central1", "us-central1-a", "n9-standard-8"]
    assert (new["price"], new["spot_price"], new["source"]) == (0.31, None, "skypilot-gcp")
    assert new["as_of"] == datetime.now(UTC).date()


def test_a_table_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(SKYPILOT_GCP)
    (source,) = sources(Settings.load({"SKYLOOM_HOME": str(tmp_path)}), str(tmp_path / "mine.csv"), ["gcp"])
    assert run(tmp_path, source).rows == 4


# --- gpuhunt --------------------------------------------------------------------------------------------------

HEADER = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags\n"
GPUHUNT = {
    "aws.csv": HEADER
    + "p3.2xlarge,us-east-1,3.06,8,61.0,1,V100,16.0,False,,nvidia,\n"
    + "p3.2xlarge,us-east-1,0.91,8,61.0,1,V100,16.0,True,,nvidia,\n"
    + "p4de.24xlarge,us-east-1,27.0,96,1152.0,8,A100,80.0,False,,nvidia,\n"
    + "m7i.2xlarge,us-east-1a,0.40,8,32.0,0,,,False,,,\n",
    "gcp.csv": HEADER + "v5litepod-8,us-central1-a,9.5,224,384.0,1,v5litepod-8,128.0,False,,google,\n",
    "azure.csv": HEADER + "Standard_NC4as_T4_v3,eastus,0.5,4,28.0,1,T4,16.0,False,,nvidia,\n",
}


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def test_gpuhunts_published_catalog(pages: Pages, tmp_path: Path) -> None:
    pages.replies["/v2/version"] = b"20260901-55\n"
    pages.replies["/v2/20260901-55/catalog.zip"] = zipped(GPUHUNT)
    result = run(tmp_path, GpuHunt(url=f"{pages.url}/v2"))
    assert (result.rows, result.refused, dict(result.rejected)) == (5, "", {})
    v100 = offerings(tmp_path, accelerators="V100", region="us-east-1", instance_type="p3.2xlarge")
    assert {(row["price"], row["spot_price"]) for row in v100.values()} == {(3.06, 0.91)}
    assert len(v100) == len(KNOWN.filter(KNOWN["instance_type"] == "p3.2xlarge", KNOWN["region"] == "us-east-1"))
    assert {row["price"] for row in offerings(tmp_path, accelerators="A100-80GB:8", region="us-east-1").values()} >= {
        27.0
    }
    assert (
        offerings(tmp_path, accelerators="tpu-v5e-8", zone="us-central1-a")["us-central1", "us-central1-a", "TPU-VM"][
            "price"
        ]
        == 9.5
    )


# --- choosing, and one source after the other -----------------------------------------------------------------


def test_sources_by_name(tmp_path: Path) -> None:
    settings = Settings.load({"SKYLOOM_HOME": str(tmp_path)})
    assert [source.name for source in sources(settings)] == ["aws", "azure", "gcp"]
    assert [source.name for source in sources(settings, clouds=["azure"])] == ["azure"]
    assert [source.name for source in sources(settings, "gpuhunt")] == ["gpuhunt"]
    assert [source.name for source in sources(settings, "skypilot", ["aws"])] == ["skypilot-aws"]
    for origin, clouds, message in [
        ("carrier-pigeon", [], "--source"),
        ("api", ["oracle"], "--cloud"),
        ("x.csv", [], "which cloud"),
    ]:
        with pytest.raises(SpecError, match=message):
            sources(settings, origin, clouds)


def test_one_sources_failure_does_not_stop_the_next(pages: Pages, tmp_path: Path) -> None:
    pages.replies["/gcp.csv"] = SKYPILOT_GCP.encode()
    both = [SkyPilotCsv("aws", f"{pages.url}/missing.csv"), SkyPilotCsv("gcp", f"{pages.url}/gcp.csv")]
    first, second = refresh(tmp_path, both, KNOWN, lambda _: None)
    assert "HTTP 404" in first.refused
    assert second.rows == 4


def test_a_newer_refresh_wins_over_an_older_one(pages: Pages, tmp_path: Path) -> None:
    row = "m5.large,2,8,,,us-east-1,us-east-1a,{},\n"
    header = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,Region,AvailabilityZone,Price,SpotPrice\n"
    prices = iter(["0.097", "0.098"])
    pages.replies["/aws.csv"] = lambda _: (header + row.format(next(prices))).encode()
    for _ in range(2):
        run(tmp_path, SkyPilotCsv("aws", f"{pages.url}/aws.csv"))
    assert {row["price"] for row in offerings(tmp_path, instance_type="m5.large", zone="us-east-1a").values()} == {
        0.098
    }
    assert sorted(path.name for path in (tmp_path / "catalog").iterdir()) == [
        "skypilot-aws.parquet",
        "skypilot-aws.previous.parquet",
    ]
    assert pl.read_parquet(tmp_path / "catalog" / "skypilot-aws.previous.parquet")["price"].to_list() == [0.097]
    assert date.today() - Catalog.load(tmp_path).table["as_of"].max() <= date.resolution  # type: ignore[operator]
