"""Estimates are wrong and starts take longer than said: how late a job may then be (NSDI'24, section 5.6)."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.simulate import SpotJob, Truth, simulate
from lab.traces import Traces
from sky_core.recovery import Decision, make_policy
from sky_core.recovery.policies import NAMES, SafetyNet

STEP = 1 / 6
HOURS = st.floats(0.01, 1.0)


class Adversary:
    """Takes spot from the policy inside after so many ticks, by turns; else the market is as it was drawn."""

    def __init__(self, inside, traces, patience):
        self.inside, self.traces, self.patience = inside, traces, itertools.cycle(patience)
        self.left = next(self.patience)

    def decide(self, situation):
        decision = self.inside.decide(situation)
        if decision.state == "spot":
            self.left -= 1
            if self.left <= 0:
                self.traces.up[decision.zone][round(situation.now / STEP) + 1] = False
                self.left = next(self.patience)
        return decision


def finish(name, work, slack, told, truth, market, patience):
    """When a job ends, and its deadline; two zones, each up where the other is not or as drawn."""
    deadline = work + told + slack
    ticks = int((max(deadline, truth.work) + 30) / STEP)
    up = np.resize(np.array(market), ticks)
    traces = Traces(STEP, {"a": up, "b": ~up})
    job = SpotJob(work, deadline, told, {"a": 1.0, "b": 1.1}, {"a": 3.0, "b": 3.2}, migration=0.1)
    return simulate(Adversary(make_policy(name), traces, patience), traces, job, truth=truth).finish, deadline


@settings(max_examples=250)
@given(
    name=st.sampled_from([name for name in NAMES if name != "skyloom"]),
    work=st.floats(0.5, 8),
    slack=st.one_of(st.just(0.0), st.floats(0, 6)),
    wrong=st.one_of(st.just(0.0), st.floats(-0.4, 4)),
    told=HOURS,
    took=st.lists(HOURS, min_size=1, max_size=8),
    market=st.lists(st.booleans(), min_size=1, max_size=80),
    patience=st.lists(st.integers(1, 20), min_size=1, max_size=6),
)
def test_late_by_no_more_than_the_estimates_were_wrong(name, work, slack, wrong, told, took, market, patience):
    ends, deadline = finish(name, work, slack, told, Truth(work + wrong, took), market, patience)
    assert ends <= deadline + wrong + 2 * max(0.0, max(took) - told) + 1e-6


@settings(max_examples=10)
@given(
    wrong=st.sampled_from([-0.4, 0.0, 1.5]),
    took=st.lists(HOURS, min_size=1, max_size=8),
    market=st.lists(st.booleans(), min_size=1, max_size=80),
    patience=st.lists(st.integers(1, 20), min_size=1, max_size=6),
)
def test_so_is_ours(wrong, took, market, patience):
    ends, deadline = finish("skyloom", 6.0, 3.0, 0.25, Truth(6.0 + wrong, took), market, patience)
    assert ends <= deadline + wrong + 2 * max(0.0, max(took) - 0.25) + 1e-6


def test_the_bound_is_reached():
    # Spot is taken as late as it may be, lost during its start, and on-demand takes as long to start once more.
    class Gambler:
        def decide(self, situation):
            spot = situation.spot_available["a"] and situation.time_to_deadline <= 4.5 + STEP / 2
            return Decision("spot" if spot or situation.state == "spot" else "idle", "a" if spot else None)

    traces = Traces(STEP, {"a": np.arange(80) % 80 < 6})
    job = SpotJob(4.0, 5.0, 0.25, {"a": 1.0}, {"a": 3.0})
    out = simulate(SafetyNet(Gambler()), traces, job, truth=Truth(4.0, [0.5]))
    assert out.finish == pytest.approx(5.0 + 2 * (0.5 - 0.25))


def test_a_job_that_outruns_its_estimate_stays_on_spot_until_it_is_taken():
    traces = Traces(STEP, {"a": np.arange(200) < 40})
    job = SpotJob(4.0, 30.0, 0.25, {"a": 1.0}, {"a": 3.0})
    out = simulate(make_policy("greedy"), traces, job, truth=Truth(8.0, [0.25]))
    assert [leg.state for leg in out.timeline] == ["spot", "on_demand"]
    assert out.timeline[1].begin == pytest.approx(40 * STEP)


def test_one_that_ends_sooner_than_said_is_paid_for_what_it_ran():
    job = SpotJob(4.0, 6.0, 0.25, {"a": 1.0}, {"a": 3.0})
    out = simulate(make_policy("greedy"), Traces(STEP, {"a": np.ones(60, bool)}), job, truth=Truth(2.0, [0.1]))
    assert out.cost == out.finish == pytest.approx(2.1)


def test_the_longest_start_so_far_replaces_the_guess_of_one():
    told = []

    class Onlooker:
        def decide(self, situation):
            told.append(situation.changeover)
            zone = "a" if situation.spot_available["a"] else None
            return Decision("spot" if zone else "idle", zone)

    traces = Traces(STEP, {"a": np.arange(60) % 12 < 9})
    job = SpotJob(2.0, 9.0, 0.25, {"a": 1.0}, {"a": 3.0})
    simulate(Onlooker(), traces, job, truth=Truth(2.0, [0.1, 0.3, 0.2], measured=True))
    assert list(dict.fromkeys(told)) == [0.25, 0.1, 0.3]
    told.clear()
    simulate(Onlooker(), traces, job, truth=Truth(2.0, [0.1, 0.3, 0.2]))
    assert set(told) == {0.25}
