"""Machines of one's own, enabled regions, and newer rows over older ones."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sky_core.catalog import Catalog
from sky_core.catalog.merge import overlay, settle
from sky_core.catalog.schema import SCHEMA
from sky_core.errors import SpecError
from sky_core.home import INVENTORY
from sky_core.inventory import Inventory
from sky_core.spec import Resources

LAB = """
[[machines]]
cloud = "lab"
region = "basement"
instance_type = "dgx-v100"
vcpus = 40
memory_gib = 512
accelerators = "V100:4"
price = 0
hosts = ["ops@10.0.0.5", "ops@10.0.0.6:2222"]

[[machines]]
cloud = "aws"
region = "us-east-1"
zone = "us-east-1a"
instance_type = "p3.8xlarge"
vcpus = 32
memory_gib = 244
accelerators = "V100:4"
price = 6.12
count = 3
labels = { reserved = "team-a" }
"""


def load(home: Path, text: str) -> Catalog:
    (home / INVENTORY).write_text(text)
    return Catalog.load(home)


def test_without_anything_of_ones_own_the_snapshot_stands(tmp_path: Path) -> None:
    assert Catalog.load(tmp_path) is Catalog.embedded()
    assert Catalog.load(tmp_path / "not-there") is Catalog.embedded()


def test_own_and_reserved_machines_are_offerings_like_any_other(tmp_path: Path) -> None:
    catalog = load(tmp_path, LAB)
    found = catalog.query(Resources(accelerators="V100:4"))
    first, second = found.row(0, named=True), found.row(1, named=True)
    assert (first["cloud"], first["price"], first["capacity"], first["source"]) == ("lab", 0, 2, "custom")
    assert (second["instance_type"], second["price"], second["capacity"]) == ("p3.8xlarge", 6.12, 3)
    assert first["device_memory_gib"] == 16
    assert found.height == Catalog.embedded().query(Resources(accelerators="V100:4")).height + 2
    hosts = Inventory.read(tmp_path).hosts()["lab"]
    assert [(host.user, host.address, host.port) for host in hosts] == [
        ("ops", "10.0.0.5", None),
        ("ops", "10.0.0.6", 2222),
    ]
    assert set(catalog.query(Resources(labels={"reserved": "team-a"}, instance_type="p3*"))["price"]) == {6.12}
    assert set(catalog.query(Resources(accelerators="V100:4", cloud="lab"))["region"]) == {"basement"}


def test_the_version_tells_what_was_loaded(tmp_path: Path) -> None:
    first = load(tmp_path, LAB).version
    assert first.startswith(f"{Catalog.embedded().version}+")
    assert load(tmp_path, LAB).version == first
    assert load(tmp_path, LAB.replace("6.12", "6.13")).version != first


def test_enabled_regions_are_offered(tmp_path: Path) -> None:
    wanted = Resources(cpus=8, cloud="aws", region="ap-south-*")
    assert "ap-south-2" not in set(Catalog.embedded().query(wanted)["region"])
    assert "ap-south-2" in set(load(tmp_path, 'enabled_regions = ["ap-south-2"]').query(wanted)["region"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("price = 0\n", ""), "machines.0.price: Field required"),
        (("price = 0\n", "price = -1\n"), "machines.0.price: .*greater than or equal to 0"),
        (("price = 0\n", "price = inf\n"), "machines.0.price: .*finite"),
        (("vcpus = 40", "vcpus = 0"), "machines.0.vcpus: .*greater than 0"),
        (("vcpus = 40", 'vcpus = "many"'), "machines.0.vcpus: .*valid number"),
        (('"V100:4"', '"V100:x"'), "machines.0.accelerators"),
        (('"ops@10.0.0.5"', '"ops@10.0.0.5; rm -rf /"'), "machines.0.hosts: .*is not an address"),
        (('"basement"', '"the basement"'), "machines.0.region: .*is not a name"),
        (("price = 0\n", "price = 0\ncount = 7\n"), "machines.0: count: 7 machines, but 2 hosts"),
        (("price = 0\n", "price = 0\nprize = 1\n"), "machines.0.prize: no such field"),
        (("price = 0\n", "price = 0\nslots = 2\n"), "machines.0: slots: a machine with accelerators takes one job"),
        (("price = 0\n", 'price = 0\nhost_keys = {"10.0.0.7" = "SHA256:x"}\n'), "'10.0.0.7' is none of the hosts"),
        (("price = 0\n", 'price = 0\nhost_keys = {"10.0.0.5" = "x"}\n'), "host_keys: 10.0.0.5: write a public key"),
        (("count = 3\n", "slots = 2\n"), "machines.1: slots and host_keys belong to hosts"),
        (("count = 3\n", 'hosts = ["10.0.0.9"]\n'), "machines.1: hosts: aws has machines of its own"),
        (("[[machines]]", "[[machine"), "catalog.toml: "),
    ],
)
def test_a_mistake_names_the_entry_and_field(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path, LAB.replace(*change, 1))


RESERVED = LAB.replace("count = 3\n", 'count = 3\nreservation = "cr-0123456789abcdef0"\nuntil = 2030-01-01T12:00:00Z\n')


def test_a_reservation_is_on_its_row_and_on_no_other(tmp_path: Path) -> None:
    rows = load(tmp_path, RESERVED).table.filter(pl.col("reservation").is_not_null())
    [row] = rows.select("reservation", "until", "price", "spot_price").iter_rows()
    assert row == ("cr-0123456789abcdef0", 1893499200.0, 6.12, None)
    managed = load(tmp_path, RESERVED).query(Resources(managed="spark", cloud="aws", cpus=8))
    assert managed["reservation"].is_null().all(), "a service launches its machines itself"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"cr-0123456789abcdef0"', '"r-1"'), "reservation: 'r-1' is no Capacity Reservation; write e.g. 'cr-0123"),
        (('zone = "us-east-1a"\n', ""), "machines.1: zone: a Capacity Reservation is in one zone"),
        (("count = 3\n", ""), "machines.1: count: say how many machines are reserved"),
        (("price = 6.12\n", "price = 6.12\nspot_price = 1\n"), "machines.1: spot_price: reserved machines"),
        (("T12:00:00Z", "T12:00:00"), "machines.1.until: write a date and time with its offset"),
        (("until = 2030-01-01T12:00:00Z", "until = 12"), "machines.1.until: write a date and time with its offset"),
        (("until =", "since = 2030-01-01T12:00:00Z\nuntil ="), "machines.1: until: it is not after since"),
        (('reservation = "cr-0123456789abcdef0"\n', ""), "machines.1: since and until are of a reservation"),
        (("price = 0\n", 'price = 0\nreservation = "x"\n'), "machines.0: reservation: lab takes none for dgx-v100"),
    ],
)
def test_a_reservation_that_cannot_be_meant_names_its_field(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=message):
        load(tmp_path, RESERVED.replace(*change, 1))


GROUP = "/subscriptions/0-1/resourceGroups/ml/providers/Microsoft.Compute/capacityReservationGroups/gpus"


@pytest.mark.parametrize(
    ("cloud", "instance_type", "name", "fits"),
    [
        ("gcp", "a3-highgpu-8g", "h100s", True),
        ("gcp", "a3-highgpu-8g", "projects/other/reservations/h100s", True),
        ("gcp", "a3-highgpu-8g", "projects/other/zones/us-central1-a/reservations/h100s", False),
        ("gcp", "TPU-VM", "h100s", False),
        ("azure", "Standard_ND96isr_H100_v5", GROUP, True),
        ("azure", "Standard_ND96isr_H100_v5", GROUP.replace("Groups/gpus", "/gpus"), False),
        ("aws", "p5.48xlarge", "cr-1234abcd", True),
        ("aws", "p5.48xlarge", GROUP, False),
    ],
)
def test_each_cloud_names_reservations_its_own_way(
    cloud: str, instance_type: str, name: str, fits: bool, tmp_path: Path
) -> None:
    text = RESERVED.replace('"aws"', f'"{cloud}"').replace("p3.8xlarge", instance_type)
    (tmp_path / INVENTORY).write_text(text.replace("cr-0123456789abcdef0", name))
    if fits:
        assert Inventory.read(tmp_path).machines[1].reservation == name
    else:
        with pytest.raises(SpecError, match="reservation: "):
            Inventory.read(tmp_path)


# --- newer rows over older ones -------------------------------------------------------------------------------


def rows(*items: dict[str, Any]) -> pl.DataFrame:
    common = {"cloud": "aws", "region": "us-east-1", "instance_type": "m5.large", "vcpus": 2.0, "memory_gib": 8.0,
              "arch": "x86_64", "labels": "", "source": "new", "as_of": date(2026, 9, 1)}  # fmt: skip
    return pl.DataFrame([{**common, **item} for item in items], schema=dict(SCHEMA))


BASE = rows(
    {
        "zone": "us-east-1a",
        "price": 0.1,
        "spot_price": 0.03,
        "interruption": 0.05,
        "source": "old",
        "as_of": date(2026, 1, 1),
    },
    {"zone": "us-east-1b", "price": 0.1, "spot_price": 0.04, "source": "old", "as_of": date(2026, 1, 1)},
    {"zone": "us-east-1a", "instance_type": "m4.large", "price": 0.2, "source": "old", "as_of": date(2026, 1, 1)},
    {"region": "us-west-2", "zone": "us-west-2a", "price": 0.1, "source": "old", "as_of": date(2026, 1, 1)},
)


def told(table: pl.DataFrame) -> set[tuple[Any, ...]]:
    return set(table.select("instance_type", "zone", "price", "spot_price", "source").iter_rows())


def test_a_price_for_the_region_holds_in_all_known_zones_and_keeps_what_it_leaves_open() -> None:
    merged = overlay(BASE, settle(rows({"price": 0.09}), BASE))
    here = merged.filter(merged["region"] == "us-east-1", merged["instance_type"] == "m5.large")
    assert told(here) == {("m5.large", "us-east-1a", 0.09, 0.03, "new"), ("m5.large", "us-east-1b", 0.09, 0.04, "new")}
    assert here.filter(here["zone"] == "us-east-1a")["interruption"].to_list() == [0.05]
    assert merged.height == BASE.height


def test_rows_with_zones_replace_the_zones_of_their_kind() -> None:
    merged = overlay(BASE, settle(rows({"zone": "us-east-1c", "price": 0.08, "spot_price": 0.02}), BASE))
    assert set(merged.filter(merged["instance_type"] == "m5.large", merged["region"] == "us-east-1")["zone"]) == {
        "us-east-1c"
    }


def test_what_a_complete_source_lacks_is_gone_only_where_it_looked() -> None:
    newer = settle(rows({"zone": "us-east-1a", "price": 0.09}), BASE)
    assert set(overlay(BASE, newer)["instance_type"]) == {"m5.large", "m4.large"}
    complete = overlay(BASE, newer, [("aws", "us-east-1")])
    assert told(complete) == {
        ("m5.large", "us-east-1a", 0.09, 0.03, "new"),
        ("m5.large", "us-west-2a", 0.1, None, "old"),
    }


def test_older_rows_do_not_replace_newer_ones() -> None:
    assert overlay(BASE, settle(rows({"price": 0.5, "as_of": date(2025, 1, 1)}), BASE)).equals(BASE)


def test_new_machine_types_join() -> None:
    merged = overlay(BASE, settle(rows({"instance_type": "m9.large", "price": 0.05}), BASE))
    assert merged.height == BASE.height + 1
    assert merged.filter(merged["instance_type"] == "m9.large")["zone"].to_list() == [None]


def test_a_reservation_is_entered_once_whatever_its_price(tmp_path: Path) -> None:
    entry = RESERVED[RESERVED.rindex("[[machines]]") :]
    again = entry.replace("price = 6.12", "price = 0")
    with pytest.raises(SpecError, match=r"catalog.toml: machines.2: reservation: named twice: machines.1 has it"):
        load(tmp_path, f"{RESERVED}\n{again}")
    elsewhere = entry.replace('"us-east-1a"', '"us-east-1b"')
    assert load(tmp_path, f"{RESERVED}\n{elsewhere}").table["reservation"].drop_nulls().len() == 2
