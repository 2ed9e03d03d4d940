"""Damaged price data: each kind is reported and refused, and the last good rows stay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sky_core.catalog.refresh import Refreshed, Result, refresh, shelf
from sky_core.catalog.refresh.sources.azure import Azure
from sky_core.catalog.refresh.sources.gcp import Gcp
from sky_core.catalog.refresh.sources.gpuhunt import GpuHunt
from sky_core.catalog.refresh.sources.skypilot import SkyPilotCsv
from sky_core.catalog.schema import SCHEMA
from tests.unit.catalog.catalog_server import Pages, serve
from tests.unit.catalog.test_catalog_refresh_files import GPUHUNT, zipped

HEADER = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,Region,AvailabilityZone,Price,SpotPrice"
GOOD = [f"m{size}.large,2,8,,,us-east-1,us-east-1a,0.{size + 10},0.0{size + 10}" for size in range(1, 31)]


def known_table() -> pl.DataFrame:
    rows = [
        {
            "cloud": "aws",
            "region": "us-east-1",
            "zone": "us-east-1a",
            "instance_type": f"m{size}.large",
            "vcpus": 2.0,
            "memory_gib": 8.0,
            "price": (size + 10) / 100,
            "spot_price": (size + 10) / 1000,
            "arch": "x86_64",
            "labels": "",
            "source": "old",
            "as_of": date(2026, 1, 1),
        }
        for size in range(1, 31)
    ]
    return pl.DataFrame(rows, schema=dict(SCHEMA))


KNOWN = known_table()


def csv(*rows: str, header: str = HEADER) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


@pytest.fixture(scope="module")
def served() -> Iterator[Pages]:
    with serve() as pages:
        yield pages


@pytest.fixture
def pages(served: Pages, monkeypatch: pytest.MonkeyPatch) -> Pages:
    monkeypatch.setattr("sky_core.catalog.refresh.web.TRIES", 1)
    served.replies, served.truncate = {}, False
    return served


@pytest.fixture
def home(pages: Pages, tmp_path: Path) -> Path:
    """A home with good rows of an earlier refresh."""
    pages.replies["/aws.csv"] = csv(*GOOD)
    assert run(pages, tmp_path).rows == len(GOOD)
    return tmp_path


def run(pages: Pages, home: Path) -> Result:
    return refresh(home, [SkyPilotCsv("aws", f"{pages.url}/aws.csv")], KNOWN, lambda _: None)[0]


def kept(home: Path) -> pl.DataFrame:
    last = shelf.read_source(home, "skypilot-aws")
    assert last is not None
    return last.table


# --- one damaged row among good ones: left out, counted, with an example ---------------------------------------

NEW = "x1.large,{vcpus},{memory},{gpu},{gpus},{region},{zone},{price},{spot}"
FINE = {
    "vcpus": "2",
    "memory": "8",
    "gpu": "",
    "gpus": "",
    "region": "us-east-1",
    "zone": "us-east-1a",
    "price": "0.2",
    "spot": "0.1",
}

ROWS = {
    "negative price": ({"price": "-0.2"}, "price is negative"),
    "price of zero": ({"price": "0"}, "price is zero"),
    "price in words": ({"price": "cheap"}, "price is no number"),
    "price with a currency": ({"price": "$0.20"}, "price is no number"),
    "price with a decimal comma": ({"price": '"0,2"'}, "price is no number"),
    "price not a number": ({"price": "nan"}, "price is no finite number"),
    "infinite price": ({"price": "inf"}, "price is no finite number"),
    "absurd price": ({"price": "99999"}, "price is out of range"),
    "no price at all": ({"price": "", "spot": ""}, "no price"),
    "negative spot price": ({"spot": "-0.1"}, "spot_price is negative"),
    "spot dearer than on demand": ({"spot": "0.3"}, "spot price above the on-demand price"),
    "no region": ({"region": ""}, "no region"),
    "region that is no name": ({"region": "US East (Virginia)"}, "region is no name"),
    "zone of another region": ({"zone": "eu-west-1a"}, "zone outside its region"),
    "zone that is no name": ({"zone": "a; drop table"}, "zone is no name"),
    "vCPUs in words": ({"vcpus": "two"}, "vcpus is no number"),
    "negative vCPUs": ({"vcpus": "-2"}, "vcpus is negative"),
    "absurd vCPUs": ({"vcpus": "1e9"}, "vcpus is out of range"),
    "negative memory": ({"memory": "-8"}, "memory_gib is negative"),
    "memory in bytes": ({"memory": "8589934592"}, "memory_gib is out of range"),
    "accelerator without a count": ({"gpu": "V100"}, "accelerator without a count, or count without an accelerator"),
    "count without an accelerator": ({"gpus": "4"}, "accelerator without a count, or count without an accelerator"),
    "negative accelerator count": ({"gpu": "V100", "gpus": "-1"}, "accelerator_count is negative"),
    "accelerator that is no name": ({"gpu": "<script>", "gpus": "1"}, "accelerator is no name"),
    "machine without a shape": ({"vcpus": "", "memory": ""}, "unknown machine type without a shape"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_damaged_row_is_left_out_and_counted(kind: str, pages: Pages, home: Path) -> None:
    damage, reason = ROWS[kind]
    pages.replies["/aws.csv"] = csv(*GOOD, NEW.format(**{**FINE, **damage}))
    result = run(pages, home)
    assert (result.refused, result.rows, dict(result.rejected)) == ("", len(GOOD), {reason: 1})
    assert "x1.large" in result.examples[reason]
    assert "x1.large" not in set(kept(home)["instance_type"])


def test_the_undamaged_row_would_have_been_taken(pages: Pages, home: Path) -> None:
    pages.replies["/aws.csv"] = csv(*GOOD, NEW.format(**FINE))
    result = run(pages, home)
    assert (result.rows, dict(result.rejected)) == (len(GOOD) + 1, {})


@pytest.mark.parametrize(
    ("rows", "reason", "left"),
    [
        ([GOOD[0], *GOOD], {"duplicate row": 1}, 30),
        ([*GOOD, "m1.large,2,8,,,us-east-1,us-east-1a,0.12,0.011"], {"two different prices for one offering": 2}, 29),
        (["m1.large,2,8,,,us-east-1,us-east-1a,1.2,0.011", *GOOD[1:]], {"price up by a factor of 10 or more": 1}, 29),
        (
            ["m1.large,2,8,,,us-east-1,us-east-1a,0.11,0.0001", *GOOD[1:]],
            {"spot_price down by a factor of 10 or more": 1},
            29,
        ),
        (
            ["m1.large,64,8,,,us-east-1,us-east-1a,0.11,0.011", *GOOD[1:]],
            {"vCPUs differ from what the type is known to have": 1},
            29,
        ),
        ([",2,8,,,us-east-1,us-east-1a,0.11,0.011", *GOOD], {}, 30),
    ],
)
def test_rows_that_contradict_each_other_or_what_is_known(
    rows: list[str], reason: dict[str, int], left: int, pages: Pages, home: Path
) -> None:
    pages.replies["/aws.csv"] = csv(*rows)
    result = run(pages, home)
    assert (result.refused, result.rows, dict(result.rejected)) == ("", left, reason)


# --- a source that as a whole cannot be believed: nothing changes ----------------------------------------------

WHOLE: dict[str, tuple[Any, str]] = {
    "gone": (404, "HTTP 404"),
    "down": (500, "HTTP 500"),
    "throttled": (429, "HTTP 429"),
    "empty": (b"", "the header lacks"),
    "an error page": (b"<html><body>Bad gateway</body></html>", "the header lacks"),
    "header only": (csv(), "it has no usable rows"),
    "a column missing": (csv(*GOOD).replace(b"Price,", b"Cost,", 1), "the header lacks"),
    "semicolons": (csv(*GOOD).replace(b",", b";"), "the header lacks"),
    "not UTF-8": (csv(*GOOD) + b"\xff\xfe\x00", "not UTF-8"),
    "binary": (bytes(range(256)) * 8, "not UTF-8"),
    "a row cut off": (csv(*GOOD)[:-20], "does not fit the header"),
    "too many cells": (csv(*GOOD, GOOD[0] + ",1"), "does not fit the header"),
    "an open quote": (csv(*GOOD, '"m1.large,2,8'), "line"),
    "cut to a quarter": (csv(*GOOD[:8]), "it has 8 rows where it had 30 last time"),
    "a column shifted": (
        csv(*(row.replace(",us-east-1,", ",,us-east-1,", 1).removesuffix(row[-6:]) for row in GOOD)),
        "rows are damaged",
    ),
    "prices in cents": (csv(*(row.replace(",0.", ",") for row in GOOD)), "30 of 30 rows are damaged"),
    "prices in micro-dollars": (csv(*(row.replace(",0.", ",900000.") for row in GOOD)), "30 of 30 rows are damaged"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_source_is_refused_and_changes_nothing(kind: str, pages: Pages, home: Path) -> None:
    reply, message = WHOLE[kind]
    before = kept(home)
    pages.replies["/aws.csv"] = reply
    result = run(pages, home)
    assert message in result.refused
    assert result.rows == 0
    assert kept(home).equals(before)


def test_a_connection_that_breaks_off(pages: Pages, home: Path) -> None:
    before = kept(home)
    pages.truncate = True
    assert "broke off" in run(pages, home).refused
    assert kept(home).equals(before)


def test_nobody_listening(home: Path) -> None:
    (result,) = refresh(home, [SkyPilotCsv("aws", "http://127.0.0.1:9/aws.csv")], KNOWN, lambda _: None)
    assert "cannot be reached" in result.refused


def retail(**fields: Any) -> dict[str, Any]:
    item = {
        "currencyCode": "USD",
        "retailPrice": 0.4,
        "armRegionName": "eastus",
        "productName": "Dsv5 Series",
        "skuName": "D8s v5",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": "Standard_D8s_v5",
    }
    return {"Items": [{**item, **fields}], "NextPageLink": None}


JSON: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{'Items': []}", "the reply is not JSON"),
    "JSON cut off": (json.dumps(retail()).encode()[:-30], "the reply is not JSON"),
    "a list instead of an object": (b"[1, 2, 3]", "not a JSON object"),
    "items missing": ({"Error": {"Code": "BadRequest"}}, "has no 'Items'"),
    "items of the wrong type": ({"Items": "none"}, "has no 'Items'"),
    "a field missing": ({"Items": [{"armSkuName": "Standard_D8s_v5"}]}, "not in the documented format"),
    "a null item": ({"Items": [None]}, "not in the documented format"),
    "another currency": (retail(currencyCode="EUR"), "no usable rows"),
    "another unit": (retail(unitOfMeasure="1/Month"), "no usable rows"),
}


@pytest.mark.parametrize("kind", JSON)
def test_a_damaged_json_api_is_refused(kind: str, pages: Pages, tmp_path: Path) -> None:
    pages.replies["/prices"], message = JSON[kind]
    (result,) = refresh(tmp_path, [Azure(retail=f"{pages.url}/prices")], KNOWN, lambda _: None)
    assert message in result.refused
    assert shelf.read(tmp_path) == []


def test_pages_that_go_round_in_circles(pages: Pages, tmp_path: Path) -> None:
    pages.replies["/prices"] = {**retail(), "NextPageLink": f"{pages.url}/prices?page=2"}
    (result,) = refresh(tmp_path, [Azure(retail=f"{pages.url}/prices")], KNOWN, lambda _: None)
    assert "pages have no end" in result.refused


@pytest.mark.parametrize(
    "price", [{"currencyCode": "EUR", "units": "1"}, {"units": "1"}, {"currencyCode": "USD", "units": "many"}]
)
def test_a_google_price_in_another_currency_or_form(price: dict[str, str], pages: Pages, tmp_path: Path) -> None:
    expression = {"usageUnit": "h", "tieredRates": [{"unitPrice": price}]}
    sku = {
        "description": "N1 Predefined Instance Core",
        "category": {"usageType": "OnDemand", "resourceFamily": "Compute"},
        "serviceRegions": ["us-central1"],
        "pricingInfo": [{"pricingExpression": expression}],
    }
    pages.replies["/services/6F81-5844-456A/skus"] = {"skus": [sku]}
    source = Gcp("p", lambda: "token", compute=pages.url, billing=pages.url)
    (result,) = refresh(tmp_path, [source], KNOWN, lambda _: None)
    assert "not in the documented format" in result.refused


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"PK\x03\x04 not really", "catalog.zip"),
        (zipped(GPUHUNT)[:-40], "catalog.zip"),
        (zipped({"aws.csv": GPUHUNT["aws.csv"]}), "has no azure.csv"),
        (zipped({**GPUHUNT, "aws.csv": "instance_name,price\np3.2xlarge,3\n"}), "the header lacks"),
        (zipped(GPUHUNT)[:60] + bytes(20) + zipped(GPUHUNT)[80:], "catalog.zip"),
    ],
)
def test_a_damaged_archive_is_refused(archive: bytes, message: str, pages: Pages, tmp_path: Path) -> None:
    pages.replies |= {"/version": b"1", "/1/catalog.zip": archive}
    (result,) = refresh(tmp_path, [GpuHunt(url=pages.url)], KNOWN, lambda _: None)
    assert message in result.refused
    pages.replies["/version"] = b"../../etc/passwd"
    (result,) = refresh(tmp_path, [GpuHunt(url=pages.url)], KNOWN, lambda _: None)
    assert "is no version" in result.refused


# --- the shelf ------------------------------------------------------------------------------------------------


def test_a_file_damaged_on_disk_gives_way_to_the_one_before(pages: Pages, home: Path) -> None:
    first = kept(home)
    pages.replies["/aws.csv"] = csv(*(row.replace(",0.1", ",0.2", 1) for row in GOOD))
    assert run(pages, home).rows == len(GOOD)
    place = home / "catalog" / "skypilot-aws.parquet"
    place.write_bytes(place.read_bytes()[:200])
    assert kept(home).equals(first)
    (home / "catalog" / "skypilot-aws.previous.parquet").unlink()
    assert shelf.read(home) == []


class Killed(BaseException):
    """Stands for the end of the process: nothing but clean-up code can see it."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["os.fsync", "os.link", "pathlib.Path.replace#1", "pathlib.Path.replace#2"])
def test_stopped_at_any_step_a_whole_file_is_there(
    step: str, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in ("2026-08-01", "2026-08-02"):
        shelf.keep(tmp_path, Refreshed("s", KNOWN, False, day))
    name, _, turn = step.partition("#")
    owner, attribute = (os, name.removeprefix("os.")) if name.startswith("os.") else (Path, "replace")
    real, calls = getattr(owner, attribute), []

    def stop(*args: Any) -> Any:
        calls.append(args)
        if len(calls) < int(turn or 1):
            return real(*args)
        if after:
            real(*args)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, attribute, stop)
        with pytest.raises(Killed):
            shelf.keep(tmp_path, Refreshed("s", KNOWN.head(7), False, "2026-09-01"))
    (found,) = shelf.read(tmp_path)
    swapped = after and step.endswith("#2")
    assert (found.fetched_at, found.table.height) == (("2026-09-01", 7) if swapped else ("2026-08-02", KNOWN.height))
    shelf.forget_leftovers(tmp_path)
    assert all(not path.name.startswith(".") for path in (tmp_path / "catalog").iterdir())


WRITER = """
import sys
from pathlib import Path
from sky_core.catalog import Catalog
from sky_core.catalog.refresh import Refreshed, shelf
table = Catalog.embedded().table.head(20000)
print("writing", flush=True)
while True:
    shelf.keep(Path(sys.argv[1]), Refreshed("s", table, False, "2026-09-01"))
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == b"writing\n"
        while not shelf.read(tmp_path):
            assert writer.poll() is None
    writer.kill()
    writer.wait()
    assert [found.table.height for found in shelf.read(tmp_path)] == [20000]


def test_there_are_thirty_kinds_of_damage_here() -> None:
    assert len(ROWS) + len(WHOLE) + len(JSON) >= 30
