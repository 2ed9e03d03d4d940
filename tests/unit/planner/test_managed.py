"""Clusters of services in the catalog and in plans: their fees, their versions, and what cannot be had of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.managed import (
    AT_HOME,
    OFFSET_AT,
    SAVED,
    WITHIN,
    at_his_dollars,
    even_by_query,
    even_by_shares,
    flips_at,
    planned,
    saved,
    shares_if_even_at,
)
from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering, SpecError
from sky_core.facts.aws import FACTS as AWS
from sky_core.facts.base import BOOT_HOURS
from sky_core.facts.managed import EMR, is_managed
from sky_core.measures.versions import allows
from sky_core.planner.alternatives import alternative
from sky_core.planner.planning import Market, make_plan
from sky_core.spec_yaml import load_task

HERE = {"region": "us-east-1"}
# The machine on demand, and the service's fee for it, USD an hour: "Amazon EMR pricing", "Dataproc pricing".
PUBLISHED = {
    "m5.xlarge": (0.192, 0.048),
    "m5.4xlarge": (0.768, 0.192),
    "m5.24xlarge": (4.608, 0.27),
    "n2-standard-16": (0.776944, 0.16),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.embedded()


def plan_of(catalog: Catalog, **options):
    task = Task(name="words", run="spark-submit count.py", **{"hours": 1.0, **options})
    return make_plan(Pipeline(name="p", tasks=(task,)), Market(catalog, ("aws", "azure", "gcp"))).placements["words"]


@pytest.mark.parametrize("machine", PUBLISHED)
def test_the_published_fee_is_added_to_the_machine(catalog: Catalog, machine: str) -> None:
    offered = catalog.query(Resources(managed="spark", instance_type=machine, region=["us-east-1", "us-central1"]))
    release = "dataproc-2.2" if "-" in machine else "emr-7.9.0"
    assert offered["instance_type"].unique().to_list() == [f"{release}/{machine}"]
    assert offered["price"][0] == pytest.approx(sum(PUBLISHED[machine]), rel=1e-3)
    assert offered["spot_price"].null_count() == offered.height


def test_the_newest_release_with_a_version_is_taken(catalog: Catalog) -> None:
    for asked, release in (
        ("3.4", "emr-6.15.0"),
        (">=3.3,<3.5", "emr-6.15.0"),
        ("3.3.2", "emr-6.11.1"),
        (">3.4", "emr-7.9.0"),
    ):
        offered = catalog.query(Resources(managed="spark", version=asked, instance_type="m5.xlarge", **HERE))
        assert offered["instance_type"][0] == f"{release}/m5.xlarge", asked


@pytest.mark.parametrize(
    ("text", "version", "fits"),
    [("3.5", "3.5.5", True), ("3.5.*", "3.5.5", True), (">3.5", "3.5.5", False), (">=3.3,<4", "3.5.5", True),
     ("3", "3.5.5", True), ("!=3.5", "3.5.5", False), ("<=3.4", "3.4.1", True), ("4", "3.5.5", False)],
)  # fmt: skip
def test_versions(text: str, version: str, fits: bool) -> None:
    assert allows(text, version) is fits


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"version": "4"}, "no service has spark 4: Amazon EMR has 3.5.5, .*; Dataproc has 3.5.3"),
        ({"version": "3.2", "cloud": "gcp"}, "no service has spark 3.2: Dataproc has 3.5.3"),
        ({"cloud": "azure"}, "no service for spark in azure; there is Amazon EMR .aws., Dataproc .gcp."),
        ({"instance_type": "p3.2xlarge"}, "no offering has p3.2xlarge"),
    ],
)
def test_what_no_service_sells_is_refused_by_the_plan(catalog: Catalog, wanted: dict[str, str], said: str) -> None:
    with pytest.raises(NoFeasibleOffering, match=said):
        plan_of(catalog, resources=Resources(managed="spark", **wanted))


@pytest.mark.parametrize(
    ("resources", "options", "said"),
    [
        ({"version": ">=3"}, {}, "say managed='spark'"),
        ({"managed": "spark", "version": "new"}, {}, "says no versions"),
        ({"managed": "spark", "image": "docker:x"}, {}, "not to be had with image"),
        ({"managed": "spark"}, {"engine": "ray"}, "takes 'spark' without options"),
        ({"managed": "spark"}, {"environment": "requirements.txt"}, "the Python of its release"),
        ({"managed": "spark"}, {"keep": "30m"}, "not kept"),
    ],
)
def test_what_a_service_has_not_is_refused_in_the_spec(resources, options, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        Task(name="words", run="true", resources=Resources(**resources), **options)


def test_spark_on_machines_is_weighed_against_it(catalog: Catalog) -> None:
    """The declared hours decide: EMR has to be as much faster as it is dearer, its longer start included."""
    wanted = Resources(any_of=({"managed": "spark"}, {}), instance_type="m5.4xlarge", **HERE)
    for emr_hours, managed in ((1.0, False), (0.9, False), (0.5, True)):
        chosen = plan_of(
            catalog, resources=wanted, hours={"emr-*": emr_hours, "m5.4xlarge": 1.0}, engine="spark", num_nodes=3
        )
        assert is_managed(chosen.instance_type) is managed, emr_hours
        assert chosen.boot_hours == (EMR.start_hours if managed else BOOT_HOURS)
        assert chosen.compute_usd == pytest.approx((chosen.hours + chosen.boot_hours) * chosen.price * 3)
        assert (alternative(wanted, chosen).managed == "spark") is managed


def test_dataproc_makes_no_cluster_of_two(catalog: Catalog) -> None:
    wanted = Resources(managed="spark", cloud="gcp", cpus=4, region="us-central1")
    for nodes in (1, 3):
        assert plan_of(catalog, resources=wanted, num_nodes=nodes).cloud == "gcp"
    with pytest.raises(NoFeasibleOffering, match="makes a cluster of 2 machines"):
        plan_of(catalog, resources=wanted, num_nodes=2)
    anywhere = Resources(managed="spark", cpus=4, region=["us-central1", "us-east-1"])
    assert plan_of(catalog, resources=anywhere, num_nodes=2).cloud == "aws"


def test_the_break_even_of_the_dissertation(catalog: Catalog) -> None:
    """Figure 4.6b: with the data in Google Cloud it pays to move it once there are queries enough; the plan does."""
    hours = at_his_dollars(catalog)
    for away, shares in SAVED.items():
        for queries, share in shares.items():
            assert saved(catalog, hours, queries, away) == pytest.approx(share, abs=WITHIN), (away, queries)
        flip = flips_at(catalog, hours, away)
        assert even_by_query(away) == pytest.approx(flip, rel=0.1), "but for the longer start"
        for queries, cloud in ((flip - 20, "gcp"), (flip + 20, "aws"), (OFFSET_AT, "aws")):
            assert planned(catalog, hours, queries, [AT_HOME, away]).placements["queries"].cloud == cloud


def test_the_queries_at_which_its_text_has_the_egress_offset_are_not_the_least() -> None:
    """By its own shares, that is: with the break-even there, each would be off by more than they are rounded."""
    for away, shares in SAVED.items():
        assert even_by_query(away) < even_by_shares(away) < OFFSET_AT
        for queries, share in shares_if_even_at(OFFSET_AT, away).items():
            assert share < shares[queries] - WITHIN


def test_a_task_file_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(
        "name: words\nnum_nodes: 3\nresources: {managed: spark, version: 3.10, cpus: 16}\nrun: spark-submit count.py\n"
    )
    wanted = load_task(tmp_path / "t.yaml").resources
    assert (wanted.managed, wanted.version) == ("spark", "3.10")


def test_every_release_is_known_to_its_cloud() -> None:
    assert all(AWS.service(f"{release}/m5.xlarge") is EMR for release in EMR.releases)
    assert AWS.service("m5.xlarge") is None
    assert AWS.user("emr-7.9.0/m5.xlarge") == "hadoop"
