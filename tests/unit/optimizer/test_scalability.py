"""Scalability learnt from what gangs of several sizes have done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core.recovery.elastic import Job, Offer, amdahl, beside, best_fleet
from sky_core.recovery.scalability import SERIAL, Scaling, learnt


@given(
    st.floats(0.0, 0.9),
    st.floats(0.1, 1e3),
    st.lists(st.integers(1, 32), min_size=2, max_size=5, unique=True).filter(lambda counts: max(counts) > 1),
)
def test_what_was_seen_for_long_is_what_is_believed(serial, pace, counts):
    true = Scaling(pace, serial)
    found = learnt({count: (1000.0, 1000.0 * pace * true(count)) for count in counts})
    for count in counts:
        assert found.pace * found(count) == pytest.approx(pace * true(count), rel=0.02)


def test_a_gang_of_one_size_leaves_the_guess_and_tells_its_pace():
    found = learnt({4: (2.0, 2 * 10 * Scaling(1.0, SERIAL)(4))})
    assert (found.pace, found.serial) == (pytest.approx(10.0, rel=0.01), pytest.approx(SERIAL, abs=0.002))
    assert learnt({3: (0.0, 0.0), 2: (1.0, 0.0)}) == Scaling(0.0, SERIAL)


def test_a_moment_says_less_than_the_guess_and_hours_more():
    short, long = (learnt({1: (hours, hours), 4: (hours, hours)}).serial for hours in (1e-5, 200.0))
    assert short == pytest.approx(SERIAL, abs=0.01)
    assert long > 0.9


def test_beside_machines_that_are_paid_anyhow_spot_pays_and_nothing_is_a_fleet():
    spot, more = Offer("spot", 1.0, 4, 0.1), Offer("on-demand", 3.0, 4)
    job = beside(Job(40.0, 0.05, amdahl(0.05), most=5), 1, 3.0)
    assert best_fleet([spot, more], job) == {"spot": 4}
    assert best_fleet([more], job) == {}
    assert best_fleet([], job) == {}
    flat = beside(Job(40.0, 0.05, amdahl(1.0), most=5), 1, 3.0)
    assert best_fleet([spot, more], flat, {"spot": 4}) == {}


def test_a_gang_that_needs_more_than_the_reliable_ones_has_them_at_any_price():
    curve = lambda count: float(count) if count >= 3 else 0.0  # noqa: E731
    job = beside(Job(40.0, 0.05, curve, most=5), 1, 3.0)
    assert best_fleet([Offer("on-demand", 3.0, 4)], job) == {"on-demand": 2}
    assert best_fleet([Offer("spot", 1.0, 1), Offer("on-demand", 3.0, 4)], job)["on-demand"] >= 1
