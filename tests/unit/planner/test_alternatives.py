"""Needs with alternatives, limits by the hour and memory by the vCPU, planned at the embedded catalog's prices."""

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering, UnknownAccelerator
from sky_core.planner.alternatives import alternative
from sky_core.planner.plan import Block
from sky_core.planner.planning import Market, make_plan


@pytest.fixture(scope="module")
def market():
    return Market(catalog=Catalog.embedded(), clouds=("aws", "azure", "gcp"))


def placed(market, **resources):
    one = Task(name="t", run="x", hours=1, resources=Resources(**resources))
    return make_plan(Pipeline(name="p", tasks=(one,)), market).placements["t"]


PLACES = [{"cloud": "gcp", "region": "us-central1"}, {"cloud": "aws", "region": "us-east-1"}]


def test_the_cheapest_of_any_places_is_taken(market):
    alone = [placed(market, accelerators="T4", **place) for place in PLACES]
    assert placed(market, accelerators="T4", any_of=PLACES).price == min(place.price for place in alone)


def test_the_first_that_can_be_had_is_taken(market):
    assert placed(market, accelerators="T4", ordered=PLACES).cloud == "gcp"
    blocked = Market(market.catalog, market.clouds, blocked=[Block(cloud="gcp", reason="sold out")])
    assert placed(blocked, accelerators="T4", ordered=PLACES).cloud == "aws"
    assert placed(market, ordered=[{"accelerators": "V100:1"}, {"accelerators": "T4"}]).accelerator == "V100"


def test_markets_are_alternatives_too(market):
    found = placed(market, accelerators="T4", any_of=[{"use_spot": True}, {"use_spot": False}], region="us-east-1")
    assert found.use_spot


def test_an_alternative_that_nobody_sells_is_passed_over(market):
    here = {"cloud": "aws", "region": "us-east-1"}
    assert placed(market, **here, any_of=[{"accelerators": "H100:3"}, {"accelerators": "T4"}]).accelerator == "T4"
    assert placed(market, **here, accelerators=["RTX4090", "T4"]).accelerator == "T4"
    with pytest.raises(UnknownAccelerator, match=r"Task\.t: accelerators: 'RTX4090' is sold by other clouds"):
        placed(market, accelerators="RTX4090")
    with pytest.raises(UnknownAccelerator, match="did you mean"):
        placed(market, accelerators=["A1000", "T4"])  # a slip of the pen is none of the alternatives
    wrong, right, others = ({"accelerators": name} for name in ("A1000", "T4", "RTX4090"))
    for how in ("any_of", "ordered"):
        for choices in ([wrong, right], [right, wrong]):
            with pytest.raises(UnknownAccelerator, match=r"Task\.t: accelerators: 'A1000'.*did you mean"):
                placed(market, **here, **{how: choices})
        assert placed(market, **here, **{how: [others, right]}).accelerator == "T4"


def test_nothing_dearer_is_planned(market):
    here = {"cloud": "aws", "region": "us-east-1", "accelerators": ["V100:1", "V100:8"]}
    assert placed(market, **here, max_hourly_cost=4).price <= 4
    with pytest.raises(NoFeasibleOffering, match=r"max_hourly_cost: nothing that fits costs \$1 an hour or less"):
        placed(market, **here, max_hourly_cost=1)


def test_memory_for_each_vcpu(market):
    found = placed(market, cloud="aws", region="us-east-1", cpus=4, memory="4x")
    frame = market.catalog.table.filter(instance_type=found.instance_type)
    assert (frame["vcpus"][0], frame["memory_gib"][0] >= 16) == (4, True)
    with pytest.raises(NoFeasibleOffering, match="memory: no offering has 400 GiB or more a vCPU"):
        placed(market, cpus=4, memory="400x")


def test_a_misspelt_place_is_asked_about(market):
    with pytest.raises(NoFeasibleOffering, match=r"region: no offering has us-east-11.*\(did you mean us-east-1\?\)"):
        placed(market, cloud="aws", region="us-east-11")


def test_a_launch_takes_image_and_tags_of_its_alternative(market):
    wanted = Resources(
        accelerators="T4", tags={"team": "x"},
        any_of=[{**PLACES[0], "image": "gcp-image"}, {**PLACES[1], "image": "ami-1", "disk_size": 200}],
    )  # fmt: skip
    place = placed(market, accelerators="T4", **PLACES[1])
    chosen = alternative(wanted, place)
    assert (chosen.image, chosen.disk_size, chosen.tags) == ("ami-1", 200, {"team": "x"})
    assert Resources.model_validate_json(wanted.model_dump_json()) == wanted
