"""``skyloom catalog``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sky_core.cli import catalog as commands
from sky_core.errors import NoFeasibleOffering, UnknownAccelerator
from tests.unit.catalog.catalog_server import serve

TABLE = "InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,Region,AvailabilityZone,Price,SpotPrice\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    monkeypatch.delenv("SKYLOOM_PROFILE", raising=False)
    monkeypatch.setattr(commands.console(), "width", 160)
    return tmp_path


def say(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(commands.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_show_lists_offerings_and_draws_their_spread() -> None:
    shown = say("show", "V100:4", "--limit", "3")
    assert "n1-standard-8" in shown
    assert re.search(r"us-central1 +a b c f", shown)
    assert "3 of" in shown
    assert "cheapest price in each of 56 zones" in shown
    assert "█" in shown


def test_show_alone_lists_the_accelerators() -> None:
    shown = say("show")
    assert re.search(r"V100 +16 +1 2 4 8 +aws azure gcp ", shown)
    assert re.search(r"tpu-v6e-8 +256 +1 +gcp ", shown)


def test_a_narrow_terminal_cuts_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands.console(), "width", 80)
    shown = say("show", "A100:8", "--cloud", "azure") + say("compare", "A100:8")
    assert "…" not in shown.replace("… $", "")
    assert shown.count("Standard_ND96asr_v4") >= 2


def test_show_takes_filters() -> None:
    shown = say("show", "--cpus", "8", "--memory", "32", "--cloud", "aws", "--region", "eu-west-1", "--spot")
    assert "eu-west-1" in shown
    assert "gcp" not in shown
    assert "cheapest spot price" in shown


def test_show_says_what_is_wrong() -> None:
    with pytest.raises(UnknownAccelerator, match="did you mean V100"):
        say("show", "V1000")
    with pytest.raises(NoFeasibleOffering, match="region"):
        say("show", "V100:4", "--region", "mars-1")


def test_compare_sets_side_by_side() -> None:
    shown = say("compare", "V100:4", "tpu-v3-8", "A100:3")
    assert shown.count("V100:4") == 3
    assert "16.3" in shown  # $8.00 for 0.492 PFLOP/s
    assert "none: accelerators" in shown


def test_stats_prints_table_4_5() -> None:
    shown = say("stats")
    assert re.search(r"tpu-v3-8:1 +4 \(4\) +1\.1 \(1\.1\)", shown)
    assert " rows (cloud, zone, machine)" in shown


def test_refresh_reports_and_keeps(home: Path) -> None:
    row = "m5.large,2,8,,,us-east-1,us-east-1a,{},\n"
    good = "".join(row.format(0.097).replace("m5.large", f"q{size}.large") for size in range(20))
    with serve() as pages:
        pages.replies["/aws.csv"] = (TABLE + good + row.format("-1")).encode()
        said = say("refresh", "--cloud", "aws", "--source", f"{pages.url}/aws.csv")
        assert "skypilot-aws: 20 rows, 0 prices changed" in said
        assert "left out 1: price is negative (cloud=aws, region=us-east-1, instance_type=m5.large" in said
        assert "+" in said.splitlines()[-1]
        pages.replies["/aws.csv"] = b"<html>"
        assert "refused" in say("refresh", "--cloud", "aws", "--source", f"{pages.url}/aws.csv", code=1)
    assert "q7.large" in say("show", "--instance-type", "q7.large")


def test_show_of_an_accelerator_lists_every_count_it_is_sold_in() -> None:
    assert "H200:8" in say("show", "H200", "--limit", "2")
    assert "tpu-v5e-8" in say("show", "tpu-v5litepod-8", "--limit", "2")
    assert "tpu-v6e-8" in say("show", "v6e-8", "--limit", "2")
