"""The embedded snapshot against the reference tables it was made from, and against what the issue promises."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import sky_core.catalog
from lab.reference import REFERENCE
from sky_core.catalog import Catalog
from sky_core.catalog.build import __main__ as build
from sky_core.catalog.facts import read_facts
from sky_core.catalog.names import embedded
from sky_core.catalog.snapshot import DATA, read_snapshot
from sky_core.catalog.stats import TABLE_4_5, coverage, table_4_5
from sky_core.facts import facts_of

TABLES = REFERENCE / "catalog"
TABLE = Catalog.embedded().table


@pytest.fixture(scope="module")
def reference() -> pl.DataFrame:
    if not TABLES.exists():
        pytest.skip("the reference tables (lab/reference.py) are not here")
    return build.read_reference(TABLES)


def test_it_is_small_and_wide() -> None:
    package = Path(sky_core.catalog.__file__).parent
    assert sum(path.stat().st_size for path in package.rglob("*") if path.suffix != ".pyc") < 1_000_000
    assert TABLE.height >= 100_000
    assert set(coverage(TABLE)["cloud"]) == {"aws", "azure", "gcp"}
    assert TABLE.select("cloud", "zone").unique().height > 294


def test_prices_are_the_references(reference: pl.DataFrame) -> None:
    key = ["cloud", "region", "zone", "instance_type", "accelerator", "accelerator_count"]
    ours = TABLE.select(*(pl.col(name).cast(reference.schema[name]) for name in key), "price", "spot_price")
    both = reference.join(ours, on=key, nulls_equal=True, suffix="_ours")
    accelerated = reference.filter(pl.col("accelerator").is_not_null()).height
    assert both.height >= 0.999 * reference.height
    assert both.filter(pl.col("accelerator").is_not_null()).height == accelerated
    assert both.filter(pl.col("price") != pl.col("price_ours")).is_empty()
    assert both.filter(pl.col("price").is_null() != pl.col("price_ours").is_null()).is_empty()
    assert both.filter(pl.col("spot_price") != pl.col("spot_price_ours")).is_empty()


def test_the_snapshot_is_what_the_build_makes(reference: pl.DataFrame, tmp_path: Path) -> None:
    build.build(TABLES, tmp_path)
    assert read_snapshot(tmp_path).equals(read_snapshot(DATA))
    assert (tmp_path / "egress.json").read_text() == (DATA / "egress.json").read_text()
    for name in ("sources", "names"):
        assert (tmp_path / f"{name}.json").read_text() == (DATA / f"{name}.json").read_text()


def test_its_names_can_be_had_without_it() -> None:
    assert build.names_of(TABLE) == embedded()


def test_no_price_is_zero_and_spot_is_never_dearer() -> None:
    assert TABLE.filter((pl.col("price") <= 0) | (pl.col("spot_price") <= 0)).is_empty()
    assert TABLE.filter(pl.col("spot_price") > pl.col("price")).is_empty()
    assert TABLE.filter(pl.col("accelerator").is_null() != pl.col("accelerator_count").is_null()).is_empty()


def test_doubtful_prices_are_left_out() -> None:
    for block in read_facts()["doubtful"]:
        here = TABLE.filter(TABLE["region"] == block["region"])
        assert not here["instance_type"].cast(pl.String).str.contains(block["types"]).any()


@pytest.mark.parametrize(
    ("cloud", "instance_type", "maker"),
    [
        ("aws", "m5.large", "intel"),
        ("aws", "m6a.large", "amd"),
        ("aws", "c7gn.large", "arm"),
        ("aws", "a1.large", "arm"),
        ("aws", "g5g.xlarge", "arm"),
        ("aws", "g5.xlarge", "amd"),
        ("aws", "g4dn.xlarge", "intel"),
        ("aws", "g4ad.xlarge", "amd"),
        ("aws", "p6-b200.48xlarge", "intel"),
        ("aws", "c7i-flex.large", "intel"),
        ("aws", "mac2", None),
        ("gcp", "n2-standard-8", "intel"),
        ("gcp", "n2d-standard-8", "amd"),
        ("gcp", "t2a-standard-4", "arm"),
        ("gcp", "e2-standard-8", None),
        ("gcp", "TPU-VM", None),
        ("gcp", "c4a-highmem-8", "arm"),
        ("azure", "Standard_D8s_v5", "intel"),
        ("azure", "Standard_D8as_v5", "amd"),
        ("azure", "Standard_D8pls_v6", "arm"),
        ("azure", "Standard_NC24ads_A100_v4", "amd"),
        ("azure", "Standard_NC6s_v3", "intel"),
        ("azure", "Standard_DC8_v2", "intel"),
        ("azure", "Standard_ND96isr_H100_v5", "intel"),
        ("azure", "Basic_A1", None),
        ("lab", "box", None),
    ],
)
def test_names_tell_the_processor(cloud: str, instance_type: str, maker: str | None) -> None:
    assert facts_of(cloud).cpu_maker(instance_type) == maker
    assert facts_of(cloud).arch(instance_type) == ("arm64" if maker == "arm" else "x86_64")


def test_table_4_5_is_near_the_dissertations() -> None:
    lines = {line.kind: line for line in table_4_5(TABLE)}
    assert set(lines) == set(TABLE_4_5)
    for kind in ("tpu-v2-8:1", "tpu-v3-8:1"):
        line = lines[kind]
        assert line.price is not None
        assert line.zones == line.paper_price.zones
        assert (line.price.ratio, line.price.cv) == pytest.approx(
            (line.paper_price.ratio, line.paper_price.cv), abs=0.06
        )
    for kind in ("T4:1", "A100:8"):
        assert lines[kind].zones == pytest.approx(lines[kind].paper_price.zones, rel=0.15)
    for kind in ("AMD 8 cores", "Arm 8 cores", "Intel 8 cores"):  # more regions and newer families than then
        assert lines[kind].zones > lines[kind].paper_price.zones
