"""Policies that throw dice: what they do by the throw, and what no market can make them pay in expectation."""

import math

import numpy as np
import pytest

from lab.omniscient import omniscient_costs
from lab.simulate import SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import make_policy

STEP, K, WORK = 1 / 16, 4.0, 4.0
NAMES = ("randomized-shifted-greedy", "ross")
MARKETS = {  # by share of the time: what greedy fears most, what ROSS does, and what asks nothing of anybody
    "once greedy is on demand": lambda share, loose: share >= 1 - 1 / loose,
    "at the very end": lambda share, loose: share >= 0.8,
    "at first": lambda share, loose: share < 0.4,
    "in the middle": lambda share, loose: 0.3 <= share < 0.6,
    "always": lambda share, loose: True,
}


def market(rule, loose):
    """Traces of one zone for a deadline of ``loose`` times the work."""
    ticks = round(WORK * loose / STEP)
    return Traces(STEP, {"a": np.array([rule(t / ticks, loose) for t in range(ticks)])})


def cost(name, traces, changeover=0.0, **options):
    job = SpotJob(WORK, traces.ticks * STEP, changeover, {"a": 1.0}, {"a": K})
    return simulate(make_policy(name, **options), traces, job).cost


def optimum(traces):
    [least] = omniscient_costs(
        traces, work=WORK, deadlines=[traces.ticks * STEP], changeover=0.0, spot_price=1.0, on_demand_price=K
    )
    return least


def test_greedy_pays_nearly_k_times_the_optimum_on_the_market_it_fears():
    traces = market(MARKETS["once greedy is on demand"], 2.0)
    job = SpotJob(WORK, 2 * WORK, 2 * STEP, {"a": 1.0}, {"a": K})  # a changeover keeps it from leaving on-demand
    assert simulate(make_policy("greedy"), traces, job).cost >= 0.95 * K * optimum(traces)


@pytest.mark.parametrize("rule", MARKETS.values(), ids=MARKETS)
@pytest.mark.parametrize(("name", "bound"), [("randomized-shifted-greedy", (K + 1) / 2 + (K - 1) / 16), ("ross", 2.0)])
def test_expected_cost_is_within_the_bound(name, bound, rule):
    traces = market(rule, 2.0)
    mean = np.mean([cost(name, traces, seed=seed) for seed in range(60)])
    assert mean <= 1.05 * bound * optimum(traces)  # ticks are not infinitely short, nor throws infinitely many


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    traces = market(MARKETS["in the middle"], 1.6)
    costs = [cost(name, traces, changeover=0.1, seed=seed) for seed in range(8)]
    assert costs == [cost(name, traces, changeover=0.1, seed=seed) for seed in range(8)]
    assert len(set(costs)) > 1


def legs(name, traces, changeover, seed):
    job = SpotJob(WORK, traces.ticks * STEP, changeover, {"a": 1.0}, {"a": K})
    return [(leg.state, leg.begin) for leg in simulate(make_policy(name, seed=seed), traces, job).timeline]


def test_shifted_or_not_the_slices_begin_at_once_or_as_late_as_they_can():
    none = market(lambda share, loose: False, 2.0)  # eight slices of an hour, half an hour of work in each
    firsts = {legs("randomized-shifted-greedy", none, 0.0, seed)[0] for seed in range(10)}
    assert firsts == {("on_demand", 0.0), ("idle", 0.0)}
    found = [legs("randomized-shifted-greedy", none, 0.0, seed) for seed in range(10)]
    begins = {begin for timeline in found for state, begin in timeline if state == "on_demand"}
    assert begins == {0.0} | {n + 0.5 for n in range(8)} | {n + 1.0 for n in range(7)}


def test_a_tight_deadline_is_made_a_loose_one_at_work():
    none = market(lambda share, loose: False, 1.25)
    for seed in range(6):
        first, then = legs("randomized-shifted-greedy", none, 0.0, seed)[:2]
        assert first == ("on_demand", 0.0)
        assert then[1] >= 2 * WORK - 1.25 * WORK - 1e-6  # until R = 2 C


def test_ross_waits_while_the_deadline_is_loose_and_then_works_for_delta():
    none = market(lambda share, loose: False, 2.5)
    root = math.sqrt(K)
    loose_until = 2.5 * WORK - WORK * (1 + 2 * root) / (1 + root)
    delta = WORK / (1 + root)
    for seed in range(12):
        (wait, _), (work, begin), *rest = legs("ross", none, 0.0, seed)
        assert (wait, work) == ("idle", "on_demand")
        assert loose_until - 1e-6 <= begin <= loose_until + WORK - delta + 2 * STEP
        if rest:
            assert rest[0] == ("idle", pytest.approx(begin + delta, abs=2 * STEP))
