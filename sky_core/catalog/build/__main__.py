"""Make the embedded snapshot: ``python -m sky_core.catalog.build FOLDER``.

Reads reference tables (``aws.csv``, ``gcp.csv``, ``azure.csv``, ``egress.csv``: columns of the dissertation's
Table 4.1, USD per hour, Linux), adds the facts of ``facts.toml``, and writes the factored tables that
:mod:`sky_core.catalog.snapshot` reads. Prices are kept exactly; an unknown price stays unknown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sky_core.catalog.build.egress import egress_records
from sky_core.catalog.facts import access_of, labels_of, read_facts
from sky_core.catalog.names import device_memory_gib
from sky_core.catalog.snapshot import DATA
from sky_core.facts import facts_of

SOURCES = {
    "aws-us-east-1": ("2026-07-20", "AWS price list, us-east-1, from karpenter-provider-aws; spot of 2025-06-28"),
    "aws": ("2025-03-02", "AWS price list from libcloud, cleaned; spot from the Spot Advisor, 2025-06-28"),
    "gcp": ("2026-08-03", "GCP price list from karpenter-provider-gcp; TPU prices from gpuhunt"),
    "azure": ("2026-06-18", "Azure retail prices from karpenter-provider-azure; US spot prices of late 2024"),
}
"""The sources of the reference tables, as their README dates them."""

REFERENCE_COLUMNS = {
    "InstanceType": ("instance_type", pl.String()),
    "vCPUs": ("vcpus", pl.Float64()),
    "MemoryGiB": ("memory_gib", pl.Float64()),
    "AcceleratorName": ("accelerator", pl.String()),
    "AcceleratorCount": ("accelerator_count", pl.Float64()),
    "Region": ("region", pl.String()),
    "AvailabilityZone": ("zone", pl.String()),
    "Price": ("price", pl.Float64()),
    "SpotPrice": ("spot_price", pl.Float64()),
    "SpotInterruption": ("interruption", pl.Float64()),
}
LEAST_VCPUS_PER_GPU = 4  # hosts smaller than that can be had, but starve their GPUs
SHAPE = ["cloud", "instance_type", "vcpus", "memory_gib", "accelerator", "accelerator_count"]


def read_reference(folder: Path) -> pl.DataFrame:
    """The reference tables as one table in the catalog's spelling (zones of Azure become ``eastus-1``)."""
    tables = []
    for cloud in ("aws", "gcp", "azure"):
        table = pl.read_csv(
            folder / f"{cloud}.csv", schema={old: dtype for old, (_, dtype) in REFERENCE_COLUMNS.items()}
        )
        table = table.rename({old: new for old, (new, _) in REFERENCE_COLUMNS.items()})
        if cloud == "azure":
            table = table.with_columns(pl.format("{}-{}", "region", "zone").alias("zone"))
        tables.append(table.with_columns(pl.lit(cloud).alias("cloud")))
    home_region = (pl.col("cloud") == "aws") & (pl.col("region") == "us-east-1")
    return pl.concat(tables).with_columns(
        pl.when(home_region).then(pl.lit("aws-us-east-1")).otherwise("cloud").alias("source")
    )


def extra_sizes(facts: Mapping[str, Any], like: pl.DataFrame) -> pl.DataFrame:
    """The machine types that only ``facts.toml`` knows, one row per type and region."""
    rows = [
        {
            "cloud": block["cloud"],
            "region": region,
            "instance_type": name,
            "vcpus": vcpus,
            "memory_gib": memory_gib,
            "price": (price := round(rate * vcpus, 3)),
            "spot_price": round(price * spot_fraction, 6),
            "source": block["source"],
        }
        for block in facts["sizes"]
        for name, (vcpus, memory_gib) in block["types"].items()
        for region, (rate, spot_fraction) in block["rates"].items()
    ]
    return pl.DataFrame(rows, schema=like.schema)


def extra_hosts(table: pl.DataFrame, facts: Mapping[str, Any]) -> pl.DataFrame:
    """Attached GPUs on other hosts than the listed one: the listed price, one host's less, the other's more."""
    listed = table.filter((pl.col("cloud") == "gcp") & (pl.col("instance_type") == "n1-standard-8"))
    prices = ["price", "spot_price"]
    plain = listed.filter(pl.col("accelerator").is_null()).select("region", *prices).unique()
    hosts = table.filter((pl.col("cloud") == "gcp") & pl.col("instance_type").is_in(facts["attach"]["hosts"]))
    hosts = hosts.select("region", "instance_type", "vcpus", "memory_gib", *prices).unique()
    attached = (
        listed.drop("instance_type", "vcpus", "memory_gib")
        .join(plain, on="region", suffix="_plain")
        .join(hosts, on="region", suffix="_host")
    )
    limits = [
        (name, float(count), float(vcpus))
        for name, counts in facts["attach"]["most_vcpus"].items()
        for count, vcpus in counts.items()
    ]
    most = pl.DataFrame(limits, schema=["accelerator", "accelerator_count", "most_vcpus"], orient="row")
    return (
        attached.join(most, on=["accelerator", "accelerator_count"])
        .filter(
            pl.col("vcpus") <= pl.col("most_vcpus"),
            pl.col("vcpus") >= LEAST_VCPUS_PER_GPU * pl.col("accelerator_count"),
        )
        .with_columns((pl.col(p) - pl.col(f"{p}_plain") + pl.col(f"{p}_host")).round(6).alias(p) for p in prices)
        .select(table.columns)
    )


def with_spot_facts(table: pl.DataFrame, facts: Mapping[str, Any]) -> pl.DataFrame:
    """Fill in spot prices that are known as a fraction of the price."""
    for block in facts["spot"]:
        here = (pl.col("cloud") == block["cloud"]) & pl.col("instance_type").str.contains(block["types"])
        fraction = pl.col("region").replace_strict(block["fractions"], default=None, return_dtype=pl.Float64)
        known = pl.when(here).then((pl.col("price") * fraction).round(6))
        table = table.with_columns(pl.coalesce("spot_price", known).alias("spot_price"))
    return table


def without_doubtful(table: pl.DataFrame, facts: Mapping[str, Any]) -> pl.DataFrame:
    """The rows whose prices can be believed."""
    for block in facts["doubtful"]:
        here = (pl.col("cloud") == block["cloud"]) & (pl.col("region") == block["region"])
        table = table.filter(~(here & pl.col("instance_type").str.contains(block["types"])))
    return table


def with_labels(shapes: pl.DataFrame) -> pl.DataFrame:
    """Shapes with their architecture, device memory and labels."""
    plain = set(shapes.filter(pl.col("accelerator").is_null()).select("cloud", "instance_type").iter_rows())
    rows = list(shapes.select("cloud", "instance_type", "accelerator").iter_rows())
    labels = [labels_of(*row, attached=row[2] is not None and row[:2] in plain) for row in rows]
    return shapes.with_columns(
        pl.Series("labels", labels),
        pl.Series("arch", [facts_of(cloud).arch(instance_type) for cloud, instance_type, _ in rows]),
        pl.Series("device_memory_gib", [device_memory_gib(name or "") for *_, name in rows], pl.Float64),
    )


def factor(table: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Take the flat table apart into shapes, regions, zones and rates."""
    shapes = with_labels(table.select(SHAPE).unique()).sort(SHAPE).with_row_index("shape_id")
    regions = table.select("cloud", "region").unique().sort("cloud", "region").with_row_index("region_id")
    access = [access_of(*row) for row in regions.select("cloud", "region").iter_rows()]
    regions = regions.with_columns(pl.Series("access", access, pl.String))
    zones = table.drop_nulls("zone").select("cloud", "region", "zone").unique().sort("cloud", "region", "zone")
    zones = zones.join(regions, on=["cloud", "region"]).with_columns(
        (2 ** pl.int_range(pl.len()).over("region_id")).cast(pl.UInt8).alias("zone_bit")
    )
    values = ["price", "spot_price", "interruption", "source"]
    rates = (
        table.join(shapes, on=SHAPE, nulls_equal=True)
        .join(regions, on=["cloud", "region"])
        .join(zones.select("region_id", "zone", "zone_bit"), on=["region_id", "zone"], how="left")
        .group_by("shape_id", "region_id", *values)
        .agg(pl.col("zone_bit").sum().cast(pl.UInt8).alias("zone_mask"))
        .sort("shape_id", "region_id")
    )
    if rates.select("shape_id", "region_id").is_duplicated().any():
        raise ValueError("a machine type has two prices in one region: the reference tables disagree with themselves")
    small = pl.col("^(shape|region)_id$").cast(pl.UInt16)
    return {
        "shapes": shapes.drop("cloud").with_columns(small),
        "regions": regions.with_columns(small),
        "zones": zones.select("region_id", "zone", "zone_bit").with_columns(small),
        "rates": rates.with_columns(small),
    }


def build(reference: Path, out: Path) -> dict[str, int]:
    """Write the snapshot into ``out``; returns the number of rows of each table."""
    facts = read_facts()
    table = read_reference(reference)
    table = pl.concat([table, extra_sizes(facts, table), extra_hosts(table, facts)])
    table = without_doubtful(with_spot_facts(table, facts), facts)
    tables = factor(table)
    out.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        frame.write_parquet(out / f"{name}.parquet", compression="zstd", compression_level=19, statistics=False)
    sources = {name: {"as_of": day, "about": about} for name, (day, about) in SOURCES.items()}
    sources |= {name: {**item, "as_of": str(item["as_of"])} for name, item in facts["sources"].items()}
    (out / "sources.json").write_text(json.dumps(sources, indent=1) + "\n")
    (out / "egress.json").write_text(json.dumps(egress_records(reference / "egress.csv"), indent=1) + "\n")
    (out / "names.json").write_text(json.dumps(names_of(table), indent=1) + "\n")
    return {name: frame.height for name, frame in tables.items()} | {"offerings": table.height}


def names_of(table: pl.DataFrame) -> dict[str, Any]:
    """The names of accelerators, and of regions and zones by cloud: for processes that may not load the tables."""
    plain = table.select(pl.col("cloud", "region", "zone", "accelerator").cast(pl.String))
    accelerators = plain["accelerator"].drop_nulls().unique().sort().to_list()
    return {"accelerators": accelerators, "regions": _by_cloud(plain, "region"), "zones": _by_cloud(plain, "zone")}


def _by_cloud(plain: pl.DataFrame, column: str) -> dict[str, list[str]]:
    places = plain.select("cloud", column).drop_nulls().unique().sort("cloud", column)
    return {str(cloud): found[column].to_list() for (cloud,), found in places.group_by("cloud", maintain_order=True)}


def main() -> None:
    """Command line: the folder of the reference tables, and where to write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path, help="folder with aws.csv, gcp.csv, azure.csv and egress.csv")
    parser.add_argument("--out", type=Path, default=DATA)
    args = parser.parse_args()
    for name, rows in build(args.reference, args.out).items():
        print(f"{name}: {rows} rows")


if __name__ == "__main__":
    main()
