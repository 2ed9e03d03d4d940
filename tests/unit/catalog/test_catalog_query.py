"""Queries over the embedded catalog."""

from __future__ import annotations

import datetime
import time
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.catalog import Catalog
from sky_core.catalog.names import resolve, tpu_slice
from sky_core.catalog.schema import SCHEMA, format_labels, parse_labels
from sky_core.errors import NoFeasibleOffering, UnknownAccelerator
from sky_core.spec import Resources

CATALOG = Catalog.embedded()


def query(*, clouds: list[str] | None = None, task: str = "task", **wanted: Any) -> pl.DataFrame:
    return CATALOG.query(Resources(**wanted), clouds=clouds, task=task)


def types(found: pl.DataFrame) -> set[str]:
    return set(found["instance_type"])


# --- what is there --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accelerators", "machines"),
    [
        ("V100", {"p3.2xlarge", "n1-standard-8", "Standard_NC6s_v3"}),
        ("T4", {"g4dn.xlarge", "n1-standard-4", "Standard_NC4as_T4_v3"}),
        ("Inferentia", {"inf1.xlarge"}),
        ("Inferentia2", {"inf2.xlarge"}),
        ("Trainium:16", {"trn1.32xlarge"}),
        ("tpu-v2-8", {"TPU-VM"}),
        ("tpu-v3-8", {"TPU-VM"}),
        ("tpu-v6e-8", {"TPU-VM"}),
        ("H100:8", {"p5.48xlarge", "a3-highgpu-8g", "Standard_ND96isr_H100_v5"}),
        ("B200:8", {"p6-b200.48xlarge"}),
    ],
)
def test_accelerators_of_the_three_clouds_are_there(accelerators: str, machines: set[str]) -> None:
    found = query(accelerators=accelerators)
    assert machines <= types(found)
    assert found["price"].is_sorted()
    assert found["price"].null_count() == 0


def test_confidential_machines_are_labelled() -> None:
    sgx = query(labels={"confidential": "sgx"})
    assert {"Standard_DC8_v2", "Standard_DC8s_v3", "Standard_DC8ds_v3"} <= types(sgx)
    assert set(sgx["cloud"]) == {"azure"}
    eight = sgx.filter(sgx["instance_type"] == "Standard_DC8_v2", sgx["region"] == "eastus").row(0, named=True)
    assert (eight["vcpus"], eight["memory_gib"], eight["price"], eight["spot_price"]) == (8, 32, 0.768, 0.08448)
    assert {"Standard_DC2as_v5", "Standard_EC96ads_v5"} <= types(query(labels={"confidential": "sev-snp"}))
    any_kind = query(labels={"confidential": True})
    assert {parse_labels(text)["confidential"] for text in any_kind["labels"].unique()} == {"sgx", "sev-snp"}
    assert types(any_kind).isdisjoint(types(query(labels={"confidential": False})))


def test_published_prices_of_confidential_machines_are_exact() -> None:
    # From the price list of late 2024, sizes whose price is rounded.
    published = {
        ("centralus", "Standard_DC1s_v3"): (0.108, 0.01188), ("centralus", "Standard_DC24s_v3"): (2.604, 0.28644),
        ("centralus", "Standard_DC48ds_v3"): (6.129, 0.67419), ("southcentralus", "Standard_DC8_v2"): (0.922, 0.10142),
        ("westus", "Standard_DC96as_v5"): (4.848, 3.3936), ("westus", "Standard_EC48ads_v5"): (3.552, 2.4864),
        ("southcentralus", "Standard_DC24ds_v3"): (3.254, 0.35794), ("eastus", "Standard_EC2as_v5"): (0.113, 0.0791),
    }  # fmt: skip
    table = CATALOG.table
    for (region, name), prices in published.items():
        row = table.filter(table["region"] == region, table["instance_type"] == name).row(0, named=True)
        assert (row["price"], row["spot_price"]) == pytest.approx(prices, abs=1e-9), name


def test_an_attached_gpu_costs_the_same_on_every_host() -> None:
    found = query(accelerators="T4:2", cloud="gcp", region="us-central1")
    plain = query(instance_type="n1-standard-*", region="us-central1")
    hosts = {row["instance_type"]: row["price"] for row in plain.iter_rows(named=True)}
    gpu = {round(row["price"] - hosts[row["instance_type"]], 4) for row in found.iter_rows(named=True)}
    assert gpu == {0.7}
    assert types(found) == {"n1-standard-8", "n1-standard-16", "n1-standard-32"}


# --- accelerators by name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpu-v3-8", "TPU v3-8", "TPU-V3-8", "tpu_v3_8", "Google TPU v3-8"])
def test_names_of_a_tpu(name: str) -> None:
    assert set(query(accelerators=name)["accelerator"]) == {"tpu-v3-8"}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("v100", "V100"),
        ("NVIDIA Tesla V100", "V100"),
        ("a100-40gb", "A100"),
        ("A100_80GB", "A100-80GB"),
        ("h100-80gb", "H100"),
        ("inferentia1", "Inferentia"),
        ("Trn1", "Trainium"),
        ("nvidia l4", "L4"),
        ("mi300x", "MI300X"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_other_spellings(typed: str, meant: str) -> None:
    assert resolve(typed, CATALOG.accelerators) == meant


@pytest.mark.parametrize(
    ("typed", "suggested"), [("V1000", "V100"), ("tpu-v3", "tpu-v3-8"), ("A10000", "A100"), ("H10", "H100")]
)
def test_an_unknown_accelerator_comes_with_a_suggestion(typed: str, suggested: str) -> None:
    with pytest.raises(
        UnknownAccelerator, match=f"'{typed}' is not in our snapshot of .* \\(did you mean .*{suggested}"
    ):
        query(accelerators=typed)


def test_nothing_like_it_points_to_the_list() -> None:
    with pytest.raises(UnknownAccelerator, match="skyloom catalog show"):
        query(accelerators="abacus")


def test_every_name_means_itself_and_tpus_know_their_chips() -> None:
    assert all(resolve(name, CATALOG.accelerators) == name for name in CATALOG.accelerators)
    assert [tpu_slice(name) for name in ("tpu-v3-8", "tpu-v5e-8", "tpu-v5p-8", "V100")] == [
        ("v3", 4),
        ("v5e", 8),
        ("v5p", 4),
        None,
    ]


# --- filters --------------------------------------------------------------------------------------------------


def test_any_of_several_accelerators() -> None:
    assert set(query(accelerators=["V100:4", "tpu-v3-8"])["accelerator"]) == {"V100", "tpu-v3-8"}
    assert set(query(accelerators={"V100": 8})["accelerator_count"]) == {8}


def test_amounts_are_exact_at_least_or_ranges() -> None:
    assert set(query(cpus=8, memory=32)["vcpus"]) == {8}
    assert query(cpus="16+")["vcpus"].min() == 16
    ranged = query(cpus="4-8", memory="16-32")
    assert set(ranged["vcpus"]) <= {4, 5, 6, 7, 8}
    assert (ranged["memory_gib"].min(), ranged["memory_gib"].max()) == (16, 32)


def test_places_take_names_patterns_and_lists() -> None:
    assert set(query(cpus=8, region="eu-*")["cloud"]) == {"aws"}
    assert set(query(cpus=8, cloud=["aws", "gcp"])["cloud"]) == {"aws", "gcp"}
    assert set(query(cpus=8, zone="us-east-1a")["zone"]) == {"us-east-1a"}
    assert set(query(instance_type="M5.*", region="us-east-1")["instance_type"]) >= {"m5.large", "m5.24xlarge"}


def test_exclude_removes_clouds_regions_and_zones() -> None:
    found = query(accelerators="V100", exclude=["azure", "us-east-1", "us-central1-a"])
    assert "azure" not in set(found["cloud"])
    assert {"us-east-1", "us-central1-a"}.isdisjoint({*found["region"], *found["zone"]})
    assert "us-central1-b" in set(found["zone"])


def test_arch_and_processor() -> None:
    assert set(query(cpus=8, arch="arm64")["arch"]) == {"arm64"}
    assert set(query(cpus=8, arch="x86_64")["arch"]) == {"x86_64"}
    assert "c6a.2xlarge" in types(query(cpus=8, labels={"cpu": "amd"}))
    assert "c6a.2xlarge" not in types(query(cpus=8, labels={"cpu": "intel"}))


def test_spot_leaves_out_what_has_no_spot_price_and_sorts_by_it() -> None:
    found = query(accelerators="T4", use_spot=True)
    assert found["spot_price"].null_count() == 0
    assert found["spot_price"].is_sorted()
    assert query(accelerators="H100:1", cloud="gcp", use_spot=True)["price"].null_count() > 0


def test_machines_with_accelerators_come_only_when_asked_for() -> None:
    assert query(cpus=8)["accelerator"].null_count() == query(cpus=8).height
    assert set(query(instance_type="p3.2xlarge")["accelerator"]) == {"V100"}
    assert query(instance_type="n1-standard-8")["accelerator"].null_count() > 0
    assert query(instance_type="n1-standard-8")["accelerator"].drop_nulls().is_empty()


def test_one_row_per_offering_and_the_documented_columns() -> None:
    key = ["cloud", "region", "zone", "instance_type", "accelerator", "accelerator_count"]
    assert not CATALOG.table.select(key).is_duplicated().any()
    assert dict(CATALOG.table.schema) == dict(SCHEMA)
    assert CATALOG.version.startswith("embedded-")


def test_regions_that_have_to_be_asked_for_must_be_named() -> None:
    assert "ap-south-2" not in set(query(cpus=8, cloud="aws")["region"])
    assert "ap-south-2" not in set(query(cpus=8, region="ap-*")["region"])
    assert set(query(cpus=8, region="ap-south-2")["region"]) == {"ap-south-2"}
    with pytest.raises(
        NoFeasibleOffering, match=r"regions that an account has to ask for offer it \(me-south-1\).*enabled_regions"
    ) as caught:
        query(accelerators="T4", cloud="aws", region="me-*")
    assert caught.value.emptied_by == "access"


def test_withdrawn_machines_are_kept_but_not_offered() -> None:
    with pytest.raises(NoFeasibleOffering, match="withdrawn") as caught:
        query(accelerators="K80", cloud="gcp")
    assert caught.value.emptied_by == "withdrawn"
    assert query(accelerators="K80", cloud="gcp", labels={"withdrawn": True}).height > 0


# --- nothing found --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "emptied_by", "message"),
    [
        (
            {"accelerators": "V100:3"},
            "accelerators",
            r"accelerators: no offering has V100:3; nearest: gcp/\S+ \S+ V100:4 .* at \$10.3/h",
        ),
        ({"accelerators": "V100:4", "region": "mars-*"}, "region", r"region: no offering has mars-\*; near.* V100:4"),
        ({"accelerators": "V100:4", "cloud": "oracle"}, "cloud", "cloud: no offering has oracle; nearest: .*V100:4"),
        ({"cloud": "amazon"}, "cloud", r"cloud: no offering has amazon; .*\(did you mean aws\?\)"),
        ({"accelerators": "V100", "zone": "us-east-1z"}, "zone", "zone: no offering has us-east-1z"),
        ({"cpus": 7, "memory": "8+"}, "cpus", r"cpus: no offering has 7; nearest: .*\(8 vCPUs"),
        ({"accelerators": "tpu-v3-8", "cloud": "azure"}, "cloud", "cloud: no offering with .*tpu-v3-8:1 has azure"),
        ({"cpus": "1000+"}, "cpus", r"cpus: no offering has 1000\+; nearest: .*416 vCPUs"),
        (
            {"cpus": 8, "memory": "3000-4000"},
            "memory",
            "memory: no offering with .* cpus 8 has 3000-4000",
        ),
        (
            {"accelerators": "tpu-v3-8", "arch": "arm64"},
            "arch",
            "arch: no offering with .* tpu-v3-8:1 has arm64",
        ),
        ({"labels": {"confidential": "tdx"}}, "labels.confidential", "labels.confidential: no .* tdx; nearest: azure/"),
        ({"accelerators": "H100:1", "cloud": "gcp"}, "price", "no on-demand price is known"),
        ({"accelerators": "MI300X:8", "use_spot": True}, "spot_price", "use_spot: no spot price is known"),
        ({"accelerators": "tpu-v3-8", "exclude": "gcp"}, "exclude", "exclude: gcp leaves nothing that fits"),
        ({"instance_type": "m5.gigantic"}, "instance_type", "instance_type: no offering has m5.gigantic"),
    ],
)
def test_what_emptied_the_list_is_named_with_the_nearest(wanted: dict[str, Any], emptied_by: str, message: str) -> None:
    with pytest.raises(NoFeasibleOffering, match=f"Task.train: {message}") as caught:
        query(task="train", **wanted)
    assert caught.value.task == "train"
    assert caught.value.emptied_by == emptied_by
    assert 1 <= len(caught.value.nearest) <= 3
    assert caught.value.cure


@pytest.mark.parametrize(
    ("wanted", "cure"),
    [
        ({"accelerators": "V100:3"}, "write V100:4, the next larger number that is sold"),
        ({"accelerators": "V100:64"}, "take several machines, by num_nodes, of V100:8"),
        ({"accelerators": "tpu-v3-8", "instance_type": "n1-highmem-8"}, "or leave instance_type out"),
        ({"accelerators": "V100", "max_hourly_cost": 0.01}, "allow more, or ask for less"),
    ],
)
def test_what_to_write_instead_is_told(wanted: dict[str, Any], cure: str) -> None:
    with pytest.raises(NoFeasibleOffering) as caught:
        query(**wanted)
    assert cure in caught.value.cure


def test_clouds_that_cannot_be_used_are_named() -> None:
    with pytest.raises(NoFeasibleOffering, match=r"clouds that can be used \(aws, gcp\).*nearest: azure/"):
        query(labels={"confidential": "sgx"}, clouds=["aws", "gcp"])
    assert set(query(accelerators="V100", clouds=["gcp"])["cloud"]) == {"gcp"}


PLACES = st.sampled_from(["us-*", "*europe*", "eu-*", "*1", "westus2"])


@settings(max_examples=60)
@given(
    cpus=st.none() | st.sampled_from(["4", "8+", "2-16"]),
    memory=st.none() | st.sampled_from(["16+", "8-64"]),
    region=st.none() | PLACES,
    exclude=st.none() | PLACES,
    arch=st.none() | st.sampled_from(["x86_64", "arm64"]),
    use_spot=st.booleans(),
)
def test_what_is_found_satisfies_what_was_asked(use_spot: bool, **wanted: Any) -> None:
    resources = Resources(**{key: value for key, value in wanted.items() if value is not None}, use_spot=use_spot)
    try:
        found = CATALOG.query(resources)
    except NoFeasibleOffering:
        return  # what it says is tested above
    price = found["spot_price" if use_spot else "price"]
    assert price.null_count() == 0
    assert price.is_sorted()
    for column, amount in (("vcpus", resources.cpus), ("memory_gib", resources.memory)):
        assert amount is None or all(value in amount for value in found[column].unique())
    assert resources.arch is None or set(found["arch"]) == {resources.arch}


def test_labels_survive_a_round_trip() -> None:
    labels = {"confidential": "sgx", "cpu": "intel"}
    assert parse_labels(format_labels(labels)) == labels
    assert parse_labels("") == {}


def test_a_query_over_the_whole_catalog_is_quick() -> None:
    # benchmarks/catalog.py measures; here only an order of magnitude, the machine may be busy.
    started = time.perf_counter()
    query(cpus="8+")
    assert time.perf_counter() - started < 1


def test_every_row_has_a_source_and_a_date() -> None:
    assert CATALOG.table.select("source", "as_of", "arch", "labels").null_count().sum_horizontal()[0] == 0
    assert CATALOG.table["as_of"].min() >= datetime.date(2024, 12, 31)
