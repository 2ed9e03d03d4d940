"""Reserved machines: planned on while they are there and long enough, named by the placement, refused by themselves."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sky_core import Elastic, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.errors import NoFeasibleOffering
from sky_core.home import INVENTORY
from sky_core.planner.candidates import is_blocked
from sky_core.planner.capacity import not_begun, outlasts, pools, price_after, taken
from sky_core.planner.plan import Block, Placement
from sky_core.planner.planning import Market, make_plan
from sky_core.store import Cluster, Observation
from sky_core.tracker import Tracker

FIRST, SECOND = "cr-0123456789abcdef0", "cr-0123456789abcdef1"


def entry(reservation: str, count: int = 1, until: datetime | None = None) -> str:
    ends = f"until = {until.isoformat()}" if until else ""
    return f"""
[[machines]]
cloud = "aws"
region = "us-east-1"
zone = "us-east-1a"
instance_type = "p4d.24xlarge"
vcpus = 96
memory_gib = 1152
accelerators = "A100:8"
price = 0
count = {count}
reservation = "{reservation}"
{ends}
"""


def market(home: Path, *entries: str, **known: object) -> Market:
    (home / INVENTORY).write_text("".join(entries))
    return Market(Catalog.load(home), ("aws",), **known)  # type: ignore[arg-type]


def tasks(count: int, **fields: object) -> Pipeline:
    wanted = Resources(accelerators="A100:8", region="us-east-1")
    made = (
        Task.model_validate({"name": f"t{number}", "run": "x", "hours": 2, "resources": wanted, **fields})
        for number in range(count)
    )
    return Pipeline(name="p", tasks=tuple(made))


def hours_from_now(hours: float) -> datetime:
    return (datetime.now(UTC) + timedelta(hours=hours)).replace(microsecond=0)


def test_each_reservation_is_planned_on_as_often_as_it_has_machines_and_named(tmp_path: Path) -> None:
    plan = make_plan(tasks(4), market(tmp_path, entry(FIRST), entry(SECOND, count=2)))
    places = sorted(plan.placements.values(), key=lambda place: place.reservation or "z")
    assert [place.reservation for place in places] == [FIRST, SECOND, SECOND, None]
    assert [place.price for place in places[:3]] == [0, 0, 0]
    assert places[3].price > 20
    assert places[0].machine == "aws/us-east-1a p4d.24xlarge (A100:8, reserved)"
    assert "on-demand" in places[3].machine


def test_a_task_that_would_outlast_a_reservation_goes_elsewhere_and_the_plan_says_so(tmp_path: Path) -> None:
    short = market(tmp_path, entry(FIRST, until=hours_from_now(1.5)))
    plan = make_plan(tasks(1), short)
    assert plan.placements["t0"].reservation is None
    [said] = [remark for remark in plan.remarks if FIRST in remark]
    assert said.startswith(f"t0: {FIRST} ends at ")
    enough = make_plan(tasks(1), market(tmp_path, entry(FIRST, until=hours_from_now(2.5))))
    assert enough.placements["t0"].reservation == FIRST
    assert not [remark for remark in enough.remarks if FIRST in remark]


def test_nothing_is_planned_on_a_reservation_before_it_begins_and_the_plan_says_so(tmp_path: Path) -> None:
    begins = hours_from_now(1)
    known = market(tmp_path, entry(FIRST).replace("price = 0", f"price = 0\nsince = {begins.isoformat()}"))
    blocked = [tuple(not_begun(known.catalog, begins.timestamp() - seconds)) for seconds in (1, 0)]
    plans = [make_plan(tasks(1), replace(known, blocked=shut)) for shut in blocked]
    assert [plan.placements["t0"].reservation for plan in plans] == [None, FIRST]
    [said] = [remark for remark in plans[0].remarks if FIRST in remark]
    assert said == f"t0: {FIRST} is left alone until {begins:%Y-%m-%d %H:%M} UTC: it begins then"


def test_a_task_that_begins_too_late_for_a_reservation_is_kept_out_of_it(tmp_path: Path) -> None:
    chain = tasks(2).model_copy(update={"order": (("t0", "t1"),)})
    plan = make_plan(chain, market(tmp_path, entry(FIRST, until=hours_from_now(3))))
    assert [plan.placements[name].reservation for name in ("t0", "t1")] == [FIRST, None]
    assert any(remark.startswith(f"t1: {FIRST} ends") for remark in plan.remarks)


def test_where_nothing_else_may_be_used_the_refusal_says_when_it_ends(tmp_path: Path) -> None:
    short = market(tmp_path, entry(FIRST, until=hours_from_now(1)))
    wanted = Resources(accelerators="A100:8", region="us-east-1", max_hourly_cost=1)
    with pytest.raises(NoFeasibleOffering, match=f"{FIRST} ends at .* UTC, and it may take 2.05 h") as refused:
        make_plan(tasks(1, resources=wanted), short)
    assert refused.value.emptied_by == "until"


def test_a_launch_is_weighed_against_the_end_once_more(tmp_path: Path) -> None:
    plan = make_plan(tasks(1), market(tmp_path, entry(FIRST, until=hours_from_now(2.5))))
    place = plan.placements["t0"]
    assert outlasts(place, time.time()) == ""
    assert FIRST in outlasts(place, time.time() + 3600)
    assert outlasts(place.model_copy(update={"done": 0.9}), time.time() + 3600) == ""


def test_what_a_cluster_holds_of_a_reservation_is_taken_of_that_one(tmp_path: Path) -> None:
    known = market(tmp_path, entry(FIRST), entry(SECOND))
    cluster = Cluster(
        "sky-1-1", "job-1", 1, "launched", "aws", "us-east-1", "us-east-1a", "p4d.24xlarge", False, 1, 0.0, "", 0.0,
        reservation=SECOND,
    )  # fmt: skip
    assert {pool.reservation: count for pool, count in taken(pools(known.catalog), [cluster]).items()} == {SECOND: 1}


def test_what_goes_on_after_its_reservation_costs_the_price_on_demand_of_its_zone(tmp_path: Path) -> None:
    known = market(tmp_path, entry(FIRST, until=hours_from_now(2.5)))
    placements = make_plan(tasks(2), known).placements.values()
    [inside] = [place for place in placements if place.reservation]
    [beside] = [place for place in placements if not place.reservation]
    assert price_after(inside, known.catalog) == beside.price > 20
    assert price_after(inside.model_copy(update={"instance_type": "p99.large"}), known.catalog) is None
    assert price_after(inside.model_copy(update={"until": None}), known.catalog) is None


def test_a_reservation_is_one_pool_whatever_its_price_was_or_is(tmp_path: Path) -> None:
    known = market(tmp_path, entry(FIRST).replace("price = 0", "price = 1"))
    cluster = Cluster(
        "sky-1-1", "job-1", 1, "launched", "aws", "us-east-1", "us-east-1a", "p4d.24xlarge", False, 1, 0.0, "", 0.0,
        reservation=FIRST,
    )  # fmt: skip
    held = taken(pools(known.catalog), [cluster])
    assert list(held.values()) == [1]
    assert make_plan(tasks(1), replace(known, held=held)).placements["t0"].reservation is None


def seen(kind: str, scope: str, reservation: str | None, num_nodes: int = 1) -> Observation:
    return Observation(
        time.time(), "aws", "us-east-1", "us-east-1a", "p4d.24xlarge", "on-demand", kind, scope,  # type: ignore[arg-type]
        accelerator="A100", reservation=reservation, num_nodes=num_nodes,
    )  # fmt: skip


def blocks(*observed: Observation) -> list[Block]:
    tracker = Tracker(observed, time.time() + 1)
    names = ("cloud", "region", "zone", "instance_type", "accelerator", "reservation", "num_nodes", "until", "reason")
    return [Block(**{name: getattr(scope, name) for name in names}) for scope in tracker.blocked(600)]


@pytest.mark.parametrize(
    ("observed", "shut"),
    [
        (seen("capacity", "reservation", FIRST), {FIRST}),
        (seen("invalid", "reservation", FIRST), {FIRST}),
        (seen("capacity", "zone", None), {None}),
        (seen("quota", "region", None), {None}),
        (seen("auth", "region", None), {FIRST, SECOND, None}),
        (seen("invalid", "type", None), {FIRST, SECOND, None}),
        (seen("unreachable", "zone", FIRST), {FIRST, SECOND, None}),
    ],
)
def test_a_refusal_shuts_what_it_is_about(tmp_path: Path, observed: Observation, shut: set[str | None]) -> None:
    plan = make_plan(tasks(3), market(tmp_path, entry(FIRST), entry(SECOND)))
    found = {place.reservation for place in plan.placements.values() if is_blocked(place, blocks(observed))}
    assert found == shut


def test_a_refused_reservation_is_left_for_the_next_best_and_says_nothing_of_chances(tmp_path: Path) -> None:
    observed = seen("capacity", "reservation", FIRST)
    blocked = market(tmp_path, entry(FIRST), blocked=blocks(observed))
    place = make_plan(tasks(1), blocked).placements["t0"]
    assert (place.reservation, place.zone is not None, place.use_spot) == (None, True, False)
    [block] = blocks(observed)
    assert block.reason == f"capacity in {FIRST}"
    assert blocks(observed, seen("launched", "zone", None)) == [block], "a launch on the market opens no reservation"
    assert blocks(observed, seen("launched", "zone", FIRST)) == []


def test_too_few_for_a_gang_is_not_none_for_one(tmp_path: Path) -> None:
    refused = blocks(seen("capacity", "reservation", FIRST, num_nodes=3))
    known = market(tmp_path, entry(FIRST, count=4), blocked=refused)
    gang = {"num_nodes": 3, "engine": "torchrun"}
    plans = {count: make_plan(tasks(1, **(gang | {"num_nodes": count})), known) for count in (2, 3, 4)}
    inside = {count: plan.placements["t0"].reservation for count, plan in plans.items()}
    assert inside == {2: FIRST, 3: None, 4: None}
    assert is_blocked(plans[2].placements["t0"].model_copy(update={"num_nodes": 3}), refused)
    assert not is_blocked(plans[2].placements["t0"], refused)
    [why] = [remark for remark in plans[3].remarks if FIRST in remark]
    assert f"t0: {FIRST} is left alone until " in why
    assert why.endswith(f"capacity for 3 machines in {FIRST}")
    assert not [remark for remark in plans[2].remarks if FIRST in remark]
    assert blocks(seen("invalid", "reservation", FIRST, num_nodes=3))[0].num_nodes == 1, (
        "it is not there for one either"
    )


def test_a_launch_shows_that_a_refusal_of_as_many_or_fewer_is_over(tmp_path: Path) -> None:
    refused, one, three = (
        seen("capacity", "reservation", FIRST, 3),
        *(seen("launched", "zone", FIRST, n) for n in (1, 3)),
    )
    assert blocks(refused, three) == []
    assert [block.num_nodes for block in blocks(refused, one)] == [3]


def test_spot_is_never_reserved(tmp_path: Path) -> None:
    wanted = Resources(accelerators="A100:8", region="us-east-1", use_spot=True)
    places: dict[str, Placement] = dict(
        make_plan(tasks(2, resources=wanted), market(tmp_path, entry(FIRST))).placements
    )
    assert sorted((place.reservation is None, place.use_spot) for place in places.values()) == [
        (False, False),
        (True, True),
    ]


def test_an_elastic_gang_is_not_planned_on_reserved_machines(tmp_path: Path) -> None:
    known = market(tmp_path, entry(FIRST, count=8))
    gang = {"elastic": Elastic(min=1, max=4, reliable=1), "engine": "torchrun"}
    assert make_plan(tasks(1, **gang), known).placements["t0"].reservation is None
    cheap = Resources(accelerators="A100:8", region="us-east-1", max_hourly_cost=1)
    with pytest.raises(NoFeasibleOffering, match="elastic: all that fits is reserved"):
        make_plan(tasks(1, resources=cheap, **gang), known)
