"""Make the embedded snapshot: ``python -m sky_core.catalog.build ../shared/data/catalog``.

Reads reference tables (``aws.csv``, ``gcp.csv``, ``azure.csv``, ``egress.csv``: columns of the dissertation's
Table 4.1, USD per hour, Linux), adds the facts of ``facts.toml``, and writes the factored tables that
:mod:`sky_core.catalog.snapshot` reads. Prices are kept exactly; an unknown price stays unknown.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from sky_core.catalog.build_egress import egress_records
from sky_core.catalog.families import arch, cpu_maker
from sky_core.catalog.names import device_memory_gib
from sky_core.catalog.schema import format_labels
from sky_core.catalog.snapshot import DATA

FACTS = Path(__file__).parent / "facts.toml"

SOURCES = {
    "aws-us-east-1": ("2026-07-20", "AWS price list, us-east-1, from karpenter-provider-aws; spot of 2025-06-28"),
    "aws": ("2025-03-02", "AWS price list from libcloud, cleaned; spot from the Spot Advisor, 2025-06-28"),
    "gcp": ("2026-08-03", "GCP price list from karpenter-provider-gcp; TPU prices from gpuhunt"),
    "azure": ("2026-06-18", "Azure retail prices from karpenter-provider-azure"),
}
"""The sources of the reference tables, as their README dates them."""

REFERENCE_COLUMNS = {
    "InstanceType": pl.String(),
    "vCPUs": pl.Float64(),
    "MemoryGiB": pl.Float64(),
    "AcceleratorName": pl.String(),
    "AcceleratorCount": pl.Float64(),
    "Region": pl.String(),
    "AvailabilityZone": pl.String(),
    "Price": pl.Float64(),
    "SpotPrice": pl.Float64(),
    "SpotInterruption": pl.Float64(),
}
SHAPE = ["cloud", "instance_type", "vcpus", "memory_gib", "accelerator", "accelerator_count"]


def read_reference(folder: Path) -> pl.DataFrame:
    """The reference tables as one table in the catalog's spelling (zones of Azure become ``eastus-1``)."""
    tables = []
    for cloud in ("aws", "gcp", "azure"):
        table = pl.read_csv(folder / f"{cloud}.csv", schema=REFERENCE_COLUMNS)
        zone = pl.format("{}-{}", "Region", "AvailabilityZone") if cloud == "azure" else pl.col("AvailabilityZone")
        tables.append(
            table.select(
                pl.lit(cloud).alias("cloud"),
                pl.col("Region").alias("region"),
                zone.alias("zone"),
                pl.col("InstanceType").alias("instance_type"),
                pl.col("vCPUs").alias("vcpus"),
                pl.col("MemoryGiB").alias("memory_gib"),
                pl.col("AcceleratorName").alias("accelerator"),
                pl.col("AcceleratorCount").alias("accelerator_count"),
                pl.col("Price").alias("price"),
                pl.col("SpotPrice").alias("spot_price"),
                pl.col("SpotInterruption").alias("interruption"),
            )
        )
    source = (
        pl.when((pl.col("cloud") == "aws") & (pl.col("region") == "us-east-1"))
        .then(pl.lit("aws-us-east-1"))
        .otherwise(pl.col("cloud"))
    )
    return pl.concat(tables).with_columns(source.alias("source"), pl.lit("").alias("labels"))


def fact_rows(facts: Mapping[str, Any], template: pl.DataFrame) -> pl.DataFrame:
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
            "labels": format_labels(block["labels"]),
        }
        for block in facts["sizes"]
        for name, (vcpus, memory_gib) in block["types"].items()
        for region, (rate, spot_fraction) in block["rates"].items()
    ]
    return pl.DataFrame(rows, schema=template.schema)


def with_spot_facts(table: pl.DataFrame, facts: Mapping[str, Any]) -> pl.DataFrame:
    """Fill in spot prices that are known as a fraction of the price."""
    for block in facts["spot"]:
        here = (pl.col("cloud") == block["cloud"]) & pl.col("instance_type").str.contains(block["types"])
        fraction = pl.col("region").replace_strict(block["fractions"], default=None, return_dtype=pl.Float64)
        known = pl.when(here).then((pl.col("price") * fraction).round(6))
        table = table.with_columns(pl.coalesce("spot_price", known).alias("spot_price"))
    return table


def with_labels(table: pl.DataFrame, facts: Mapping[str, Any]) -> pl.DataFrame:
    """Shapes with their labels: the processor's maker, attached GPUs, and what ``facts.toml`` says."""
    plain = set(table.filter(pl.col("accelerator").is_null()).select("cloud", "instance_type").unique().rows())

    def labels(row: Mapping[str, Any]) -> str:
        found = dict(item.split("=") for item in row["labels"].split(",") if item)
        maker = cpu_maker(row["cloud"], row["instance_type"])
        if maker:
            found["cpu"] = maker
        if row["accelerator"] and (row["cloud"], row["instance_type"]) in plain:
            found["attached"] = "true"  # the type is also sold without; the accelerator is attached at launch
        for block in facts["labels"]:
            pattern = pl.Series([row["instance_type"]]).str.contains(block.get("types", ""))[0]
            if row["cloud"] == block["cloud"] and pattern and block.get("accelerator") in (None, row["accelerator"]):
                found |= block["labels"]
        return format_labels(found)

    shapes = table.select(*SHAPE, "labels").unique(maintain_order=True)
    return shapes.with_columns(
        pl.Series("full_labels", [labels(row) for row in shapes.iter_rows(named=True)]),
        pl.Series("arch", [arch(*row) for row in shapes.select("cloud", "instance_type").iter_rows()]),
        pl.Series("device_memory_gib", [device_memory_gib(name or "") for name in shapes["accelerator"]], pl.Float64),
    )


def factor(table: pl.DataFrame, facts: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    """Take the flat table apart into shapes, regions, zones and rates."""
    shapes = with_labels(table, facts).sort(SHAPE, nulls_last=False).with_row_index("shape_id")
    shapes = shapes.with_columns(pl.col("shape_id").cast(pl.UInt16))
    regions = table.select("cloud", "region").unique().sort("cloud", "region").with_row_index("region_id")
    regions = regions.with_columns(pl.col("region_id").cast(pl.UInt16))
    zones = table.drop_nulls("zone").select("cloud", "region", "zone").unique().sort("cloud", "region", "zone")
    zones = zones.join(regions, on=["cloud", "region"]).with_columns(
        (2 ** pl.int_range(pl.len()).over("region_id")).cast(pl.UInt8).alias("zone_bit")
    )
    keyed = (
        table.join(shapes, on=[*SHAPE, "labels"], nulls_equal=True)
        .join(regions, on=["cloud", "region"])
        .join(zones.select("region_id", "zone", "zone_bit"), on=["region_id", "zone"], how="left")
    )
    values = ["price", "spot_price", "interruption", "source"]
    rates = keyed.group_by("shape_id", "region_id", *values).agg(
        pl.col("zone_bit").sum().cast(pl.UInt8).alias("zone_mask")
    )
    if rates.select("shape_id", "region_id").is_duplicated().any():
        raise ValueError("a machine type has two prices in one region: the tables disagree with themselves")
    return {
        "shapes": shapes.drop("cloud", "labels").rename({"full_labels": "labels"}),
        "regions": regions,
        "zones": zones.select("region_id", "cloud", "region", "zone", "zone_bit"),
        "rates": rates.sort("shape_id", "region_id"),
    }


def build(reference: Path, out: Path) -> dict[str, int]:
    """Write the snapshot into ``out``; returns the number of rows of each table."""
    facts = tomllib.loads(FACTS.read_text())
    table = read_reference(reference)
    table = with_spot_facts(
        pl.concat([table, fact_rows(facts, table)]).with_columns(pl.col("labels").fill_null("")), facts
    )
    tables = factor(table, facts)
    out.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        frame.write_parquet(out / f"{name}.parquet", compression="zstd", compression_level=19, statistics=False)
    sources = {name: {"as_of": day, "about": about} for name, (day, about) in SOURCES.items()}
    sources |= {name: {**item, "as_of": str(item["as_of"])} for name, item in facts["sources"].items()}
    (out / "sources.json").write_text(json.dumps(sources, indent=1) + "\n")
    (out / "egress.json").write_text(json.dumps(egress_records(reference / "egress.csv"), indent=1) + "\n")
    return {name: frame.height for name, frame in tables.items()} | {"offerings": table.height}


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
