"""What a task gets that leaves something open, and what a plan says of machines that end and of old prices."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.catalog.facts import labels_of
from sky_core.catalog.usual import retires, spot_day
from sky_core.config import Defaults, Settings
from sky_core.errors import NoFeasibleOffering, SpecError
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view.table import plan_text

CLOUDS = ("aws", "azure", "gcp")


def catalog(**said: Any) -> Catalog:
    return Catalog.embedded().with_defaults(Defaults(**said))


def planned(task: Task, **said: Any) -> str:
    return plan_text(make_plan(Pipeline(name="p", tasks=(task,)), Market(catalog(**said), CLOUDS)))


def test_a_task_that_names_nothing_gets_a_machine_that_can_do_something() -> None:
    found = catalog().query(Resources())
    assert set(found["arch"].drop_nulls()) == {"x86_64"}
    assert found["vcpus"].min() >= 4
    assert found["memory_gib"].min() >= 8
    assert {"us-east-1", "europe-west4", "uksouth", "eastus2"} <= set(found["region"])
    assert set(found["region"]).isdisjoint({"ap-south-1", "asia-east1", "centralindia", "sa-east-1"})


def test_what_a_task_names_is_what_it_gets() -> None:
    usual = catalog()
    assert usual.query(Resources(cpus="2"))["memory_gib"].min() == 4  # the usual 8 GiB are for 4 vCPUs
    assert usual.query(Resources(cpus="2", memory="0.5+"))["memory_gib"].min() == 0.5
    assert set(usual.query(Resources(arch="arm64"))["arch"]) == {"arm64"}
    assert set(usual.query(Resources(region="ap-south-1"))["region"]) == {"ap-south-1"}
    assert set(usual.query(Resources(zone="asia-east1-a"))["region"]) == {"asia-east1"}
    assert set(usual.query(Resources(instance_type="t4g.nano"))["instance_type"]) == {"t4g.nano"}


def test_sizes_for_confidential_computing_are_for_those_who_ask() -> None:
    usual = catalog()
    assert not any("confidential" in labels for labels in usual.query(Resources(cpus="8"))["labels"].drop_nulls())
    asked = usual.query(Resources(cpus="8", labels={"confidential": "sgx"}))
    assert all("confidential=sgx" in labels for labels in asked["labels"])
    assert set(usual.query(Resources(instance_type="Standard_DC8_v2"))["instance_type"]) == {"Standard_DC8_v2"}


def test_the_settings_may_say_something_else() -> None:
    found = catalog(cpus="2+", memory="2+", arch="any", regions=["aws/ap-*"], home="gcp/europe-west4").query(
        Resources()
    )
    assert set(found["arch"].drop_nulls()) == {"x86_64", "arm64"}
    assert {cloud for cloud, region in found.select("cloud", "region").rows() if region.startswith("ap-")} == {"aws"}
    assert {region for cloud, region in found.select("cloud", "region").rows() if cloud == "gcp"} == {"europe-west4"}


def test_regions_that_leave_nothing_are_an_error_that_says_so() -> None:
    with pytest.raises(NoFeasibleOffering, match=r"no region that the settings allow .*\[defaults\] regions"):
        catalog(regions=["af-*"]).query(Resources(accelerators="A100:8"))


@pytest.mark.parametrize(
    ("instance_type", "day"),
    [("p2.xlarge", "2024-09"), ("g3.4xlarge", "2025-10-31"), ("p3.2xlarge", "2025-12-20"), ("p3dn.24xlarge", None)],
)
def test_when_a_machine_type_ends(instance_type: str, day: str | None) -> None:
    assert retires(labels_of("aws", instance_type, None)) == day


def test_a_retired_machine_is_taken_only_where_it_is_named_or_nothing_else_will_do() -> None:
    usual = catalog()
    assert set(usual.query(Resources(accelerators="V100:1"))["cloud"]) == {"gcp"}
    assert set(usual.query(Resources(instance_type="p3.2xlarge"))["cloud"]) == {"aws"}
    assert "Standard_NC6s_v3" in set(usual.query(Resources(accelerators="V100:1", cloud="azure"))["instance_type"])
    named = Task(name="t", run="true", hours=1, resources=Resources(instance_type="p3.2xlarge"))
    assert "p3.2xlarge was retired on 2025-12-20" in " ".join(planned(named).split())


def test_hours_for_nothing_but_a_retired_machine_say_that_it_is_retired() -> None:
    task = Task(name="a", run="x", resources=Resources(accelerators=["V100", "T4"]), hours={"V100": 1.0})
    market = Market(Catalog.embedded().with_defaults(Defaults()), ("aws",))
    with pytest.raises(SpecError, match=r"there are T4:1 \(left out .* machines with V100 on 2025-12-20;"):
        make_plan(Pipeline(name="p", tasks=[task]), market)


def test_no_image_of_ours_boots_azures_first_generation() -> None:
    types = set(catalog().query(Resources(cpus="4", cloud="azure"))["instance_type"])
    assert "Standard_D4s_v3" in types
    assert "Standard_D4_v3" not in types


def test_an_old_spot_price_is_told_and_not_believed_below_the_floor() -> None:
    usual, today = catalog(spot_floor=0.5), datetime.now(UTC).date()
    old = usual.table.filter((pl.col("as_of") < today - timedelta(days=30)) & pl.col("price").is_not_null())
    assert (old["spot_price"] >= 0.5 * old["price"] * (1 - 1e-9)).all()
    spot = Task(name="t", run="true", hours=1, resources=Resources(accelerators="T4:1", use_spot=True))
    told = " ".join(planned(spot, spot_floor=0.5).split())
    assert "days old; none is taken to be below 50% of on demand" in told


def test_where_no_on_demand_price_is_known_that_of_the_same_accelerators_stands_for_it() -> None:
    table = catalog(spot_floor=0.5).table.filter(pl.col("accelerator") == "H100", pl.col("cloud") == "gcp")
    unknown = table.filter(pl.col("price").is_null(), pl.col("as_of") < datetime.now(UTC).date() - timedelta(days=30))
    each = (table["price"] / table["accelerator_count"]).min()
    assert not unknown.is_empty(), "Google sells one to four H100s on spot only"
    assert (unknown["spot_price"] >= 0.5 * each * unknown["accelerator_count"] * (1 - 1e-9)).all()


def test_a_spot_price_is_as_old_as_itself_not_as_what_stands_beside_it() -> None:
    assert spot_day("aws", date(2026, 7, 20)) == date(2025, 6, 28)
    assert spot_day("gcp", date(2026, 8, 3)) == date(2026, 8, 3)
    assert spot_day("aws", date(2026, 11, 1)) == date(2026, 11, 1), "a refresh brings both"


def test_a_new_spot_price_is_believed_whatever_it_is() -> None:
    fresh = Catalog.embedded().table.with_columns(as_of=pl.lit(date(9999, 1, 1)))
    cheap = Catalog(fresh, Catalog.embedded()._egress, "fresh").with_defaults(Defaults(spot_floor=1.0))
    assert cheap.table["spot_price"].equals(Catalog(fresh, Catalog.embedded()._egress, "fresh").table["spot_price"])


def test_hours_of_what_was_not_asked_for_and_none_of_what_was() -> None:
    slip = Task(name="t", run="true", hours={"V100": 2, "A100": 1}, resources=Resources(accelerators=["V100", "T4"]))
    said = " ".join(planned(slip).split())
    assert "hours has A100, which accelerators does not ask for" in said
    assert "hours says nothing of T4" in said


def test_the_table_of_defaults_is_read_and_its_slips_are_named(tmp_path: Any) -> None:
    environ = {"SKYLOOM_HOME": str(tmp_path)}
    (tmp_path / "config.toml").write_text('[defaults]\nregions = ["eu-*"]\nmemory = "16+"\nhome = "aws/eu-west-1"\n')
    found = Settings.load(environ).defaults
    assert (found.regions, found.memory.low, found.home_place) == (("eu-*",), 16, ("aws", "eu-west-1"))
    (tmp_path / "config.toml").write_text('[defaults]\nregion = ["eu-*"]\n')
    with pytest.raises(SpecError, match=r"defaults\.region: no such setting; did you mean regions\?"):
        Settings.load(environ)
