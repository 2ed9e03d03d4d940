"""What a task could run on, as columns: nothing that could matter is thrown away."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.planner.candidates import Shelf
from sky_core.planner.offers import Offers, Sold, offers_of, sold_for, worth_a_look
from sky_core.planner.planning import Market, make_plan

CLOUDS = ("aws", "azure", "gcp")
SMALL = st.integers(0, 3)
ROW = st.tuples(SMALL, SMALL, st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))  # at, kind, rate, hours, more


def made_up(rows: list[tuple[int, int, int, int, int]]) -> Offers:
    at, kind, rate, hours, more = (np.array(column) for column in zip(*rows, strict=True))
    frame = pl.DataFrame({"rate": rate.astype(float), "boot_hours": np.zeros(len(rows))})
    places = tuple(("cloud", f"region-{number}") for number in range(4))
    sold = Sold(frame, np.zeros(len(rows)), at, places, kind, pool=np.full(len(rows), -1))
    time, worst = hours.astype(float), (hours + more).astype(float)
    return Offers(sold, time, time, worst, np.zeros(len(rows)), "made up", 1)


@given(st.lists(ROW, min_size=1, max_size=25))
def test_for_each_offer_that_goes_one_stays_that_is_as_good(rows: list[tuple[int, int, int, int, int]]) -> None:
    offers = made_up(rows)
    kept = worth_a_look(offers, np.zeros(len(rows), dtype=bool))
    figures = np.column_stack([offers.usd, offers.expected_hours, offers.usd_at_worst])
    for without in {-1, *offers.sold.kind.tolist()}:  # the best plan, and the best without some kind of machine
        stays = [row for row in kept if offers.sold.kind[row] != without]
        for row in (row for row in range(len(rows)) if offers.sold.kind[row] != without):
            assert any(
                offers.sold.at[other] == offers.sold.at[row] and (figures[other] <= figures[row]).all()
                for other in stays
            )


def test_where_the_first_run_was_made_stays() -> None:
    offers = made_up([(0, kind, kind + 1, 1, 0) for kind in range(4)])
    first = np.array([False, False, False, True])
    assert worth_a_look(offers, first).tolist() == [0, 1, 3]


def test_a_task_that_fits_anything_has_few_candidates() -> None:
    catalog, task = Catalog.embedded(), Task(name="t", run="true", resources=Resources(cpus="4+"))
    offers = offers_of(task, sold_for(task, catalog, CLOUDS))
    found = Shelf(catalog, CLOUDS).candidates(task)
    assert len(offers) > 50_000
    assert len(found) <= 4 * len(found.locations)
    for place in range(len(found.locations)):  # the cheapest of each location is among them
        cheapest = offers.usd[offers.sold.at == place].min()
        assert found.cost[found.at == place].min() == pytest.approx(cheapest)


def test_tasks_with_the_same_needs_share_their_candidates() -> None:
    shelf = Shelf(Catalog.embedded(), CLOUDS)
    one, other, third = (Task(name=name, run="true", hours=hours) for name, hours in (("a", 2), ("b", 2), ("c", 3)))
    assert shelf.candidates(one) is shelf.candidates(other)
    assert shelf.candidates(one) is not shelf.candidates(third)


def test_a_shared_candidate_is_placed_under_each_tasks_own_name() -> None:
    tasks = tuple(Task(name=name, run="true", resources=Resources(accelerators="T4")) for name in "ab")
    plan = make_plan(Pipeline(name="p", tasks=tasks), Market(Catalog.embedded(), CLOUDS))
    assert {name: place.task for name, place in plan.placements.items()} == {"a": "a", "b": "b"}
