"""Elastic gangs: the best set of allocations is the best of all, and it pays on traces of many machines."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.elastic import ON_DEMAND, SPOT, elastic, fixed, fixed_with_on_demand, run
from sky_core.recovery.elastic import Job, Offer, amdahl, best_fleet, usd_per_work

OFFERS = st.lists(
    st.tuples(
        st.floats(0.1, 4.0), st.integers(0, 4), st.sampled_from([0.0, 0.05, 0.5, 3.0]), st.sampled_from([0.0, 2.0])
    ),
    min_size=1,
    max_size=3,
)


def every_fleet(offers, most):
    for counts in itertools.product(*(range(offer.most + 1) for offer in offers)):
        if 0 < sum(counts) <= most:
            yield {offer.name: count for offer, count in zip(offers, counts, strict=True) if count}


@settings(max_examples=100)
@given(
    rows=OFFERS,
    serial=st.floats(0, 0.6),
    work=st.floats(0.5, 50),
    start=st.floats(0, 0.5),
    hour_usd=st.sampled_from([0.0, 1.0, 10.0]),
    most=st.integers(1, 8),
    data=st.data(),
)
def test_no_other_fleet_is_cheaper(rows, serial, work, start, hour_usd, most, data):
    offers = [Offer(f"o{number}", *row) for number, row in enumerate(rows)]
    job = Job(work, start, amdahl(serial), hour_usd, most)
    every = list(every_fleet(offers, most))
    present = data.draw(st.sampled_from([{}, *every]))
    by_name = {offer.name: offer for offer in offers}
    found = best_fleet(offers, job, present)
    if not every:
        assert found == {}
        return
    least = min(usd_per_work(fleet, by_name, job, present) for fleet in every)
    assert usd_per_work(found, by_name, job, present) == pytest.approx(least, rel=1e-9)


def test_only_money_counts_one_machine_is_cheapest_and_haste_buys_more():
    offers = [Offer("spot", 1.0, 16)]
    assert best_fleet(offers, Job(20.0, 0.1, amdahl(0.05))) == {"spot": 1}
    hasty = best_fleet(offers, Job(20.0, 0.1, amdahl(0.05), hour_usd=20.0))
    assert hasty["spot"] > 4


def test_a_better_fleet_is_left_alone_where_becoming_it_does_not_pay():
    offers = [Offer("near", 1.0, 4), Offer("far", 0.9, 4)]
    job = Job(1.0, 0.5, amdahl(0.0))
    assert best_fleet(offers, job, {"near": 1}) == {"near": 1}
    assert best_fleet(offers, Job(100.0, 0.5, amdahl(0.0)), {"near": 1}) == {"far": 1}


def test_it_waits_for_spot_where_time_is_cheap_and_not_where_it_is_dear():
    offers = [Offer("spot", 1.0, 4, away=2.0), Offer("on-demand", 3.0, 4)]
    assert "spot" in best_fleet(offers, Job(20.0, 0.1, amdahl(0.0)))
    assert set(best_fleet(offers, Job(2.0, 0.1, amdahl(0.0), hour_usd=40.0))) == {"on-demand"}


def test_machines_that_are_lost_all_the_time_are_dearer_than_they_look():
    shaky, steady = Offer("shaky", 1.0, 1, rate=6.0), Offer("steady", 2.0, 1)
    assert best_fleet([shaky, steady], Job(10.0, 0.3, amdahl(0.0))) == {"steady": 1}


PRICES = {SPOT: 1.0, ON_DEMAND: 3.0}


def test_a_fleet_that_loses_a_machine_goes_on_after_a_start():
    job = Job(8.0, 0.5, amdahl(0.0), most=4)
    out = run(fixed(4), [4, 4, 0, 4, 4, 4], 1.0, job, PRICES)  # 2 + 4 units in the first two hours less a start's half
    assert out.starts == 2
    assert out.hours == pytest.approx(4.0)
    assert out.usd == pytest.approx(4.0 * 3.0)


def test_where_machines_come_and_go_one_by_one_an_elastic_gang_is_the_better_one():
    counts = np.tile([4] * 3 + [3] * 6 + [2] * 3, 40).tolist()
    job = Job(30.0, 0.1, amdahl(0.05), hour_usd=4.0, most=4)
    worth = {
        name: run(choose, counts, 0.5, job, PRICES).worth(job.hour_usd)
        for name, choose in {"ours": elastic(PRICES, 4), "waits": fixed(4), "pays": fixed_with_on_demand(4)}.items()
    }
    assert worth["ours"] < 0.9 * min(worth["waits"], worth["pays"])
