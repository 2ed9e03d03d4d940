"""Deadlines: what they leave to choose from, how a pipeline's is shared out, and spot without checkpoints."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.errors import Infeasible
from sky_core.optimizer import Edge, Problem, solve
from sky_core.planner.deadlines import solve_in_time, task_hours
from sky_core.planner.plan import Plan
from sky_core.planner.planning import Market, make_plan
from sky_core.recovery.start_over import StartOver
from sky_core.store.records import Observation, Run
from sky_core.tracker import Offering, availability
from tests.unit.spot.test_recovery import TICK, situation

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def market():
    return Market(catalog=Catalog.embedded(), clouds=("aws", "azure", "gcp"))


def task(name, hours, **fields):
    where = Resources(cloud="aws", region="us-east-1", accelerators=["K80", "V100"])
    return Task(name=name, run="true", hours=hours, outputs={"x": Artifact()}, resources=where, **fields)


def chain(*tasks):
    order = tuple((before.name, after.name) for before, after in itertools.pairwise(tasks))
    return Pipeline(name="chain", tasks=tasks, order=order)


@settings(max_examples=15)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.floats(1, 3))
def test_shares_along_a_chain_use_up_the_time_to_the_deadline(lengths, room):
    tasks = [task(f"t{number}", hours) for number, hours in enumerate(lengths)]
    plan = make_plan(chain(*tasks), Market(Catalog.embedded(), ("aws",)))
    left = plan.hours * room
    for one in tasks:  # each takes just what it was given
        left -= task_hours(chain(*tasks), plan, one.name, left)
    assert left == pytest.approx(0, abs=1e-6)


def test_a_late_pipeline_gives_each_task_its_planned_hours(market):
    pipeline = chain(task("a", 2), task("b", 3))
    plan = make_plan(pipeline, market)
    assert task_hours(pipeline, plan, "a", 1.0) == pytest.approx(plan.placements["a"].expected_hours)


def test_a_task_with_little_time_gets_a_faster_machine(market):
    slow = make_plan(chain(task("fit", {"K80": 10, "V100": 4})), market)
    fast = make_plan(chain(task("fit", {"K80": 10, "V100": 4}, deadline=5)), market)
    assert (slow.placements["fit"].accelerator, fast.placements["fit"].accelerator) == ("K80", "V100")


def test_a_task_that_cannot_be_done_in_time_is_refused_with_what_would_do(market):
    with pytest.raises(Infeasible, match=r"Task\.fit: deadline: nothing does it within 1 h") as caught:
        make_plan(chain(task("fit", {"K80": 10, "V100": 4}, deadline=1)), market)
    assert caught.value.least == pytest.approx(4.05)


def test_a_promise_counts_on_the_longest_run_that_history_knows_of(market):
    pipeline = chain(task("fit", None))
    seen = Run(at=0.0, pipeline="chain", task="fit", cloud="aws", region="us-east-1", instance_type="p3.2xlarge",
               accelerator="V100", accelerator_count=1, use_spot=False, hours=2.0, input_gb=1.0)  # fmt: skip
    history = {"fit": [replace(seen, at=float(night), hours=hours) for night, hours in enumerate((2.0, 2.4, 1.8))]}
    known = replace(market, history=history)
    placement = make_plan(pipeline, known).placements["fit"]
    assert placement.hours_at_most > max(placement.hours, 2.0)
    short = chain(task("fit", None, deadline=placement.hours + placement.boot_hours + 0.01))
    with pytest.raises(Infeasible, match=r"Task\.fit: deadline"):
        make_plan(short, replace(known, clouds=("aws",)))


def test_a_point_in_time_binds_the_tasks_before_it_and_not_those_after(market):
    at = datetime.now(UTC) + timedelta(hours=6)
    pipeline = chain(task("a", {"K80": 10, "V100": 4}), task("b", {"K80": 1, "V100": 1}, deadline=at),
                     task("c", {"K80": 10, "V100": 4}))  # fmt: skip
    plan = make_plan(pipeline, market)
    assert [place.accelerator for place in plan.placements.values()] == ["V100", "K80", "K80"]
    assert plan.hours == pytest.approx(15.15)
    too_soon = pipeline.model_copy(update={"tasks": (pipeline.tasks[0], pipeline.tasks[1].model_copy(
        update={"deadline": datetime.now(UTC) + timedelta(hours=2)}), pipeline.tasks[2])})  # fmt: skip
    with pytest.raises(Infeasible, match=r"Task\.b: deadline: at least 3\.1 h too early"):
        make_plan(too_soon, market)


@settings(max_examples=60)
@given(st.data())
def test_latest_finishes_agree_with_brute_force(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    cost = {name: rng.integers(1, 20, 3).astype(float) for name in "abc"}
    hours = {name: rng.integers(1, 9, 3).astype(float) for name in "abc"}
    nothing = np.zeros((1, 1))
    edges = [Edge("a", "b", nothing, nothing), Edge("b", "c", nothing, nothing)]
    problem = Problem(list("abc"), cost, hours, {name: np.zeros(3, dtype=np.int64) for name in "abc"}, edges)
    due = {"b": float(rng.integers(2, 14))}
    choices = [(i, j, k) for i in range(3) for j in range(3) for k in range(3)
               if hours["a"][i] + hours["b"][j] <= due["b"]]  # fmt: skip
    if not choices:
        with pytest.raises(Infeasible):
            solve_in_time(problem, due, None)
        return
    best = min(cost["a"][i] + cost["b"][j] + cost["c"][k] for i, j, k in choices)
    found = solve_in_time(problem, due, None)
    assert found.cost == pytest.approx(best)
    assert found.finish["b"] <= due["b"]
    assert set(found.choice) == set("abc")
    assert solve(problem).cost <= found.cost


@given(work=st.floats(1, 8), room=st.floats(0.0, 20), trace=st.lists(st.booleans(), min_size=1, max_size=200))
def test_without_checkpoints_losing_everything_at_the_worst_moment_still_ends_in_time(work, room, trace):
    delay, now, ran, state = 0.2, 0.0, 0.0, "idle"
    deadline, tick = work + delay + room, 0
    while ran < work + delay - 1e-9:
        there = trace[min(tick, len(trace) - 1)]
        if state == "spot" and not there:
            state, ran = "idle", 0.0
        decision = StartOver().decide(
            situation(now=now, remaining_work=work - max(0.0, ran - delay), total_work=work, total_time=deadline,
                      time_to_deadline=deadline - now, state=state, zone="a" if state != "idle" else None,
                      spot_available={"a": there}, spot_price={"a": 1.0}, on_demand_price={"a": 3.0})
        )  # fmt: skip
        assert decision.state != "spot" or there
        ran = ran if decision.state == state else 0.0
        state = decision.state
        ran += TICK if state != "idle" else 0.0
        now += TICK
        tick += 1
    assert now - (ran - work - delay) <= deadline + 1e-6


def test_availability_holds_from_one_sign_to_the_next_and_knows_its_place():
    here = Offering("aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "V100")
    seen = Observation(NOW, "aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "capacity", accelerator="V100")
    others = [
        replace(seen, at=NOW + 1, kind="launched", zone="us-east-1b"),
        replace(seen, at=NOW + 2, market="on-demand"),
    ]
    signs = [seen, *others, replace(seen, at=NOW + 25, kind="launched"), replace(seen, at=NOW + 41, kind="preempted")]
    assert availability(signs, here, NOW + 60, 10) == [False, False, False, True, True, False, False]
    assert availability(others, here, NOW + 60, 10) == []


def test_a_share_of_a_deadline_looks_at_each_edge_once() -> None:
    layers, width = 40, 8  # 8^39 paths
    names = [[f"t{layer}_{number}" for number in range(width)] for layer in range(layers)]
    tasks = [Task(name=name, run="true", hours=1) for layer in names for name in layer]
    order = [(one, other) for above, below in pairwise(names) for one in above for other in below]
    pipeline = Pipeline(name="ladder", tasks=tuple(tasks), order=tuple(order))
    placed = SimpleNamespace(expected_hours=1.0, transfer_hours=0.0)
    plan = cast(Plan, SimpleNamespace(placements={task.name: placed for task in tasks}))
    assert task_hours(pipeline, plan, "t0_0", 80.0) == pytest.approx(2.0)
