"""Knowing the next hours: nothing beyond them, never late, and with all of them the optimum of hindsight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.lookahead import PartialLookahead
from lab.omniscient import omniscient_costs
from lab.simulate import SpotJob, simulate
from lab.traces import Traces

STEP, K = 0.5, 3.0
MARKS = st.text("01", min_size=40, max_size=40)


def traces(*zones):
    return Traces(
        STEP, {name: np.array([mark == "1" for mark in marks]) for name, marks in zip("ab", zones, strict=False)}
    )


def run(market, work, deadline, window, changeover=0.25):
    job = SpotJob(work, deadline, changeover, dict.fromkeys(market.up, 1.0), dict.fromkeys(market.up, K))
    return simulate(PartialLookahead(market, 0, window), market, job)


def hindsight(market, work, deadline, changeover=0.25):
    [least] = omniscient_costs(
        market, work=work, deadlines=[deadline], changeover=changeover, spot_price=1.0, on_demand_price=K
    )
    return least


@settings(max_examples=60)
@given(a=MARKS, b=MARKS, work=st.integers(2, 28), slack=st.integers(0, 24), changeover=st.sampled_from([0.25, 0.75]))
def test_who_sees_to_the_deadline_does_as_well_as_hindsight(a, b, work, slack, changeover):
    deadline = (work + slack) * 0.25 + changeover
    out = run(traces(a, b), work * 0.25, deadline, window=20.0, changeover=changeover)
    assert out.finish <= deadline + 1e-9
    assert out.cost == pytest.approx(hindsight(traces(a, b), work * 0.25, deadline, changeover))


@settings(max_examples=80)
@given(marks=MARKS, work=st.integers(2, 28), slack=st.integers(0, 24), window=st.sampled_from([1.0, 2.0, 5.0]))
def test_no_window_makes_a_job_late_or_cheaper_than_hindsight(marks, work, slack, window):
    deadline = (work + slack) * 0.25 + 0.25
    out = run(traces(marks), work * 0.25, deadline, window)
    assert out.finish <= deadline + 1e-9
    assert out.cost >= hindsight(traces(marks), work * 0.25, deadline) - 1e-9


def test_spot_that_will_not_last_is_left_alone():
    # 0.5 h of spot do 0.25 h of work for 0.5, less than on demand; with a changeover of 0.4 h they do not.
    assert run(traces("1" + "0" * 39), 2.0, 8.0, 2.0, changeover=0.25).hours["spot", "a"] == STEP
    assert ("spot", "a") not in run(traces("1" + "0" * 39), 2.0, 8.0, 2.0, changeover=0.4).hours


def test_what_is_beyond_the_window_is_not_known():
    # Nothing before hour 6, or spot from hour 3 on: the first two hours look the same to who sees one hour.
    none, later = (run(traces(marks), 4.0, 8.0, 1.0) for marks in ("0" * 40, "0" * 6 + "1" * 34))
    assert [leg for leg in none.timeline if leg.begin < 2] == [leg for leg in later.timeline if leg.begin < 2]
    assert ("spot", "a") in later.hours
    assert ("spot", "a") not in none.hours


def test_who_sees_no_spot_keeps_up_with_uniform_progress():
    out = run(traces("0" * 40), 4.0, 8.0, 2.0)
    assert [(leg.begin, leg.state) for leg in out.timeline] == [(0.0, "idle"), (1.0, "on_demand")]
    # To begin at 1.5 would have done 1.25 h of work by 3.0, where 1.5 h are due; hindsight would begin at 3.75.
