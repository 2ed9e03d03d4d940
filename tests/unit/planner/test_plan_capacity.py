"""Machines that are counted: reserved ones and one's own are planned on as often as there are, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.config import Defaults
from sky_core.errors import Infeasible, NoFeasibleOffering
from sky_core.home import INVENTORY
from sky_core.planner.capacity import full, pools, taken
from sky_core.planner.plan import Placement
from sky_core.planner.planning import Market, SoFar, make_plan
from sky_core.spec import Objective
from sky_core.store import Cluster

OWN = """
[[machines]]
cloud = "lab"
region = "basement"
instance_type = "box"
vcpus = 4
memory_gib = 16
price = 0
slots = 2
hosts = ["10.0.0.5"]

[[machines]]
cloud = "aws"
region = "us-east-1"
zone = "us-east-1a"
instance_type = "p4d.24xlarge"
vcpus = 96
memory_gib = 1152
accelerators = "A100:8"
price = 0.5
count = 1
"""


@pytest.fixture
def market(tmp_path: Path) -> Market:
    (tmp_path / INVENTORY).write_text(OWN)
    return Market(Catalog.load(tmp_path), ("aws", "lab"))


def side_by_side(count: int, **resources: object) -> Pipeline:
    wanted = Resources.model_validate(resources or {"cpus": "4", "memory": "8+"})
    tasks = (Task(name=f"t{number}", run="x", hours=1, resources=wanted) for number in range(count))
    return Pipeline(name="p", tasks=tuple(tasks))


def on(places: dict[str, Placement] | object, cloud: str) -> int:
    assert isinstance(places, dict)
    return sum(place.cloud == cloud for place in places.values())


def test_what_does_not_fit_at_once_spills_over(market: Market) -> None:
    plan = make_plan(side_by_side(4), market)
    assert (on(plan.placements, "lab"), on(plan.placements, "aws")) == (2, 2)
    assert plan.optimal


@pytest.mark.parametrize(("price", "at_home"), [(0.001, 2), (100.0, 0)])
def test_ones_own_machines_are_left_to_the_clouds_where_these_are_cheaper(
    tmp_path: Path, price: float, at_home: int
) -> None:
    (tmp_path / INVENTORY).write_text(OWN.replace("price = 0\n", f"price = {price}\n"))
    plan = make_plan(side_by_side(4), Market(Catalog.load(tmp_path), ("aws", "lab")))
    assert on(plan.placements, "lab") == at_home


def gang(num_nodes: int, **resources: object) -> Pipeline:
    wanted = Resources.model_validate({"cpus": "4", "memory": "8+", **resources})
    return Pipeline(name="p", tasks=(Task(name="t", run="x", hours=1, num_nodes=num_nodes, resources=wanted),))


def test_a_gang_is_not_planned_on_fewer_machines_than_it_has(market: Market) -> None:
    plan = make_plan(gang(3), market)
    assert on(plan.placements, "lab") == 0
    assert plan.alone["lab"].cost_usd is None, "nor is that cloud alone taken to be cheaper"
    with pytest.raises(NoFeasibleOffering, match="num_nodes: 3 machines are more than there are: 2 of lab/basement"):
        make_plan(gang(3, cloud="lab"), market)
    assert on(make_plan(gang(2), market).placements, "lab") == 1


def test_tasks_that_ask_for_the_same_in_other_numbers_share_nothing(market: Market) -> None:
    two, three = gang(2).tasks[0], gang(3).tasks[0].model_copy(update={"name": "u"})
    plan = make_plan(Pipeline(name="p", tasks=(two, three), order=(("t", "u"),)), market)
    assert {name: place.cloud for name, place in plan.placements.items()} == {"t": "lab", "u": "aws"}


def test_a_size_that_nobody_named_is_told_as_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / INVENTORY).write_text(OWN.replace("vcpus = 4", "vcpus = 2"))
    market = Market(Catalog.load(tmp_path).with_defaults(Defaults()), ("aws", "lab"))
    with pytest.raises(NoFeasibleOffering, match=r"write cpus: 2\+; where neither cpus nor memory is named, cpus 4\+"):
        make_plan(side_by_side(1, cloud="lab"), market)


def test_a_reserved_machine_stands_beside_the_list_price_of_its_kind(market: Market) -> None:
    plan = make_plan(side_by_side(3, accelerators="A100:8", region="us-east-1"), market)
    prices = sorted(place.price for place in plan.placements.values())
    assert prices[0] == 0.5
    assert prices[1] == prices[2] > 20


def test_tasks_one_after_the_other_share_a_machine(market: Market) -> None:
    order = (("t0", "t1"), ("t1", "t2"), ("t2", "t3"))
    chain = side_by_side(4).model_copy(update={"order": order})
    assert on(make_plan(chain, market).placements, "lab") == 4


def test_what_others_hold_is_not_planned_on(market: Market) -> None:
    (pool,) = (pool for pool, _ in pools(market.catalog) if pool.cloud == "lab")
    held = Market(market.catalog, market.clouds, held={pool: 1})
    assert on(make_plan(side_by_side(4), held).placements, "lab") == 1


def test_a_gang_takes_as_many_as_it_has_nodes(market: Market) -> None:
    gang = side_by_side(2).tasks[0].model_copy(update={"num_nodes": 2, "name": "gang"})
    pipeline = Pipeline(name="p", tasks=(gang, *side_by_side(1).tasks))
    plan = make_plan(pipeline, market)
    assert on(plan.placements, "lab") == 1


def test_tasks_that_may_run_nowhere_else_queue(market: Market) -> None:
    assert on(make_plan(side_by_side(4, cloud="lab"), market).placements, "lab") == 4


def test_a_deadline_is_not_taken_for_a_lack_of_machines(market: Market) -> None:
    with pytest.raises(Infeasible) as missed:
        make_plan(side_by_side(4), market, Objective(deadline=0.5))
    assert missed.value.constraint == "deadline_hours"


def test_a_task_that_runs_holds_its_slot_and_one_that_is_done_does_not(market: Market) -> None:
    pipeline = side_by_side(4)
    plan = make_plan(pipeline, market)
    fixed = {name: place for name, place in plan.placements.items() if place.cloud == "lab"}
    running = make_plan(pipeline, market, fixed=fixed, so_far=SoFar(0.0, 0.5, dict.fromkeys(fixed, 0.5)))
    assert on(running.placements, "lab") == 2
    done = make_plan(pipeline, market, fixed=fixed, so_far=SoFar(0.0, 1.0, dict.fromkeys(fixed, 0.0)))
    assert on(done.placements, "lab") == 4


def test_slots_that_are_taken_are_worth_waiting_for(market: Market) -> None:
    scarce = pools(market.catalog)
    cluster = Cluster("sky-1-1", "job-1", 1, "launched", "lab", "basement", None, "box", False, 1, 0.0, "", 0.0)
    held = taken(scarce, [cluster])
    assert full(scarce, held, num_nodes=1) == ()
    (block,) = full(scarce, held, num_nodes=2)
    assert block.passing
    assert (block.cloud, block.instance_type) == ("lab", "box")
    assert "1 of 2 box in basement are taken" in block.reason


def test_chains_side_by_side_hand_their_machines_on(market: Market) -> None:
    """Four chains, two slots: thousands of sets of tasks would take too many; two whole chains take what there is."""
    tasks = tuple(
        Task(name=f"t{number}", run="x", hours=1, resources=Resources(cpus="4", memory="8+")) for number in range(24)
    )
    order = tuple((f"t{number}", f"t{number + 4}") for number in range(20))
    plan = make_plan(Pipeline(name="p", tasks=tasks, order=order), market)
    at_home = [int(name[1:]) % 4 for name, place in plan.placements.items() if place.cloud == "lab"]
    assert len(at_home) == 12
    assert len(set(at_home)) == 2
    assert plan.optimal
