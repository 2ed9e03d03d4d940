"""The simulator's arithmetic, the optimum of hindsight against an integer program, and what our policy learns."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.omniscient import omniscient_costs
from lab.simulate import Move, SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import make_policy, ours
from sky_core.recovery.beliefs.market_model import AGES, LIFE, PHASES, SCALED, Zone, chain, step, watch
from sky_core.recovery.value import Zones, solve

STEP, K = 0.5, 3.0


def traces(**zones):
    return Traces(STEP, {zone: np.array([mark == "1" for mark in marks]) for zone, marks in zones.items()})


def job(work, deadline, changeover=0.25, migration=0.0, zones=("a",)):
    return SpotJob(work, deadline, changeover, dict.fromkeys(zones, 1.0), dict.fromkeys(zones, K), migration)


def test_changeovers_are_paid_for_and_a_preemption_ends_them():
    # On at 0, taken at 1.0 (0.75 h done), back at 1.5: the rest of 2 h takes another changeover.
    out = simulate(make_policy("greedy"), traces(a="1101111111"), job(2.0, 4.5))
    assert out.cost == pytest.approx(1.0 + 0.25 + 1.25)
    assert out.finish == pytest.approx(1.5 + 0.25 + 1.25)
    assert out.changeovers == 2
    assert [(leg.begin, leg.state) for leg in out.timeline] == [(0.0, "spot"), (1.0, "idle"), (1.5, "spot")]
    assert out.hours["idle", None] == pytest.approx(0.5)


def test_moving_to_another_zone_costs_its_egress():
    both = traces(a="1000000000", b="1111111111")
    out = simulate(make_policy("uniform-progress"), both, job(2.0, 4.0, migration=0.4, zones=("a", "b")))
    assert out.cost == pytest.approx(0.5 + 0.4 + (2.0 - 0.25) + 0.25)


def test_a_gang_is_on_spot_together_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"  # two machines, then one of them is taken, then there are four
    file.write_text(json.dumps({"metadata": {"gap_seconds": 1800}, "data": [2, 2, 1, 0, 1, 4, 4, 4, 4, 4, 4, 4]}))
    pair = Traces.load({"a": file}, nodes=2)
    assert "".join(str(int(up)) for up in pair.up["a"]) == "110001111111"
    out = simulate(make_policy("greedy"), pair, replace(job(2.0, 9.0), nodes=2))
    assert [(leg.begin, leg.state) for leg in out.timeline] == [(0.0, "spot"), (1.0, "idle"), (2.5, "spot")]
    alone = simulate(make_policy("greedy"), traces(a="110001111111"), job(2.0, 9.0))
    assert (out.finish, out.changeovers, out.hours) == (alone.finish, alone.changeovers, alone.hours)
    assert out.cost == pytest.approx(2 * alone.cost)


def test_no_spot_at_all_costs_what_on_demand_costs():
    none = traces(a="0" * 30)
    for name in ("greedy", "on-demand"):
        assert simulate(make_policy(name), none, job(4.0, 6.0)).cost == pytest.approx(K * 4.25)


def test_traces_that_end_too_soon_are_an_error():
    with pytest.raises(ValueError, match="end after 3 ticks"):
        simulate(make_policy("greedy"), traces(a="000"), job(4.0, 6.0))
    with pytest.raises(ValueError, match="12 are needed"):
        omniscient_costs(traces(a="000"), work=4, deadlines=[6], changeover=0.25, spot_price=1, on_demand_price=K)


def least_cost(marks, work, deadline, changeover):
    """The same question as an integer program over quarter hours: what to do in each tick, which starts to pay."""
    ticks = int(deadline / STEP)
    program = pulp.LpProblem("hindsight", pulp.LpMinimize)
    modes = ("spot", "demand")
    on = {(m, t): program.add_variable(f"{m}{t}", cat="Binary") for m in modes for t in range(ticks)}
    start = {(m, t): program.add_variable(f"s{m}{t}", cat="Binary") for m in modes for t in range(ticks)}
    done = []
    for t in range(ticks):
        program += on["spot", t] + on["demand", t] <= 1
        if marks[t] == "0":
            program += on["spot", t] == 0
        for m in modes:
            program += start[m, t] >= on[m, t] - (on[m, t - 1] if t else 0)
            program += start[m, t] <= on[m, t]
            done.append(STEP * on[m, t] - changeover * start[m, t])
    program += pulp.lpSum(done) >= work
    program += pulp.lpSum(STEP * (on["spot", t] + K * on["demand", t]) for t in range(ticks))
    program.solve(pulp.PULP_CBC_CMD(msg=False))
    return pulp.value(program.objective) if program.status == pulp.LpStatusOptimal else float("inf")


@pytest.mark.filterwarnings("ignore:PULP_CBC_CMD")
@settings(max_examples=25)
@given(marks=st.text("01", min_size=8, max_size=12), work=st.integers(1, 9))
def test_hindsight_is_the_integer_programs_optimum(marks, work):
    # Whole ticks of work after a start of half a tick: to end in mid-tick is what the program cannot say, so compare
    # on amounts of work where the last tick is used to its end or the difference is at most that tick.
    deadline = len(marks) * STEP
    [found] = omniscient_costs(
        traces(a=marks), work=work * 0.25, deadlines=[deadline], changeover=0.25, spot_price=1, on_demand_price=K
    )
    program = least_cost(marks, work * 0.25, deadline, 0.25)
    assert found <= program + 1e-9
    assert found >= program - STEP * K / 2 - 1e-9 or program == found == float("inf")


@settings(max_examples=40)
@given(marks=st.text("01", min_size=40, max_size=40), work=st.integers(4, 28), slack=st.integers(1, 10))
def test_no_policy_beats_hindsight(marks, work, slack):
    deadline = (work + slack) * 0.25 + 0.25
    [best] = omniscient_costs(
        traces(a=marks), work=work * 0.25, deadlines=[deadline], changeover=0.25, spot_price=1, on_demand_price=K
    )
    for name in ("greedy", "uniform-progress", "time-sliced", "on-demand"):
        out = simulate(make_policy(name), traces(a=marks), job(work * 0.25, deadline))
        assert out.finish <= deadline + 1e-9
        assert out.cost >= best - 1e-9


@pytest.mark.parametrize("hours", [0.05, 0.2, 2.0])
def test_transitions_are_chances(hours):
    stay, end = step(hours)
    assert stay.min() >= 0
    assert stay.sum(axis=-1) + end == pytest.approx(np.ones(end.shape))


def test_mean_lives_are_what_the_rates_say():
    ages = np.arange(0, 1000, 0.002)  # the last phase may last for weeks
    for scale in range(SCALED.shape[0]):
        for up in (0, 1):
            rates = SCALED[scale, up, np.searchsorted(AGES, ages, side="right")]
            survival = np.exp(-np.cumsum(rates) * 0.002)
            assert LIFE[scale, up, 0] == pytest.approx(survival.sum() * 0.002, rel=0.01)
            assert LIFE[scale, up, -1] == pytest.approx(1 / rates[-1])


def test_a_zone_that_flaps_is_trusted_less_than_one_that_stays():
    flaps = watch([bool(mark) for mark in itertools.islice(itertools.cycle([1, 1, 0, 0]), 200)], 1 / 6)
    stays = watch([True] * 200, 1 / 6)
    assert stays.life() > 3 * flaps.life()
    assert stays.availability() > flaps.availability()
    assert flaps.known
    assert not stays.known


def test_what_was_seen_long_ago_is_forgotten():
    before, since = [True, False] * 200, [True] * 1500
    assert watch(before + since, 1 / 6).life() == pytest.approx(watch(since, 1 / 6).life(), rel=0.01)


def test_ours_takes_the_zone_that_has_lasted():
    past = {"a": [True, False] * 60, "b": [True] * 120}
    policy = make_policy("skyloom", history=past, history_step=1 / 6)
    up = traces(a="1" * 60, b="1" * 60)
    out = simulate(policy, up, job(8.0, 12.0, zones=("a", "b")))
    assert [leg.zone for leg in out.timeline] == ["b"]


def test_ours_moves_to_a_cheaper_zone_only_where_that_pays():
    up = traces(a="1" * 60, b="0" * 8 + "1" * 52)

    def zones(spot_price):
        priced = SpotJob(8.0, 14.0, 0.25, spot_price, dict.fromkeys("ab", K), migration=0.1)
        return [leg.zone for leg in simulate(make_policy("skyloom"), up, priced).timeline if leg.zone]

    assert zones({"a": 1.0, "b": 0.99}) == ["a"]
    assert zones({"a": 2.0, "b": 0.9}) == ["a", "b"]  # whether or not it waits for b as well


def test_what_nobody_looks_at_is_forgotten_bit_by_bit():
    zone = watch([False] * 30 + [True] * 6, 1 / 6)
    chances = []
    for _ in range(200):
        chances.append(zone.forecast()[PHASES:].sum())
        zone.look_away(0.5)
    assert chances[0] == pytest.approx(1.0)
    assert (np.diff(chances)[:20] < 0).all()  # then it rises by and by, as there are ever more old spells again
    assert chances[-1] == pytest.approx(zone.availability(), abs=0.05)


def test_a_zone_that_is_down_whenever_one_looks_is_trusted_less():
    never, always = Zone(), Zone()
    for _ in range(12):
        for zone, up in ((never, False), (always, True)):
            zone.observe(up, 0.0)
            zone.look_away(4.0)
    assert never.availability() < Zone().availability() < always.availability()


@pytest.mark.parametrize("hours", [0.05, 0.2, 2.0])
def test_markets_go_from_state_to_state(hours):
    turns = chain(Zone().rates(), hours)
    assert turns.min() >= 0
    assert turns.sum(axis=-1) == pytest.approx(np.ones(2 * PHASES))


def map_of(count, usd=0.0, hours=0.0, now=None):
    zone = Zone()
    apart = 1 - np.eye(count)
    states = zone.forecast() if now is None else now
    return Zones(np.ones(count), np.full(count, K), usd * apart, hours * apart, 0.2, np.stack([zone.rates()] * count),
                 np.stack([states] * count))  # fmt: skip


def test_values_fall_with_slack_and_with_zones_and_rise_with_what_moves_take():
    alone, three, dear, far = (
        solve(zones, 16.0, 8.0, first=1 / 6, keep=1.0)
        for zones in (map_of(1), map_of(3), map_of(3, usd=2.0), map_of(3, hours=1.0))
    )
    for values in (alone, three, dear, far):
        for table in (values.idle, values.spot, values.on_demand):
            assert (np.diff(table[0], axis=-1) <= 0.02).all()
    assert three.idle[0, 0, 0, -1] < dear.idle[0, 0, 0, -1] < alone.idle[0, 0, 0, -1]
    assert three.idle[0, 0, 0, -1] < far.idle[0, 0, 0, -1] < alone.idle[0, 0, 0, -1]
    # With no slack at all there is on-demand only.
    assert alone.on_demand[0, 0, 0, 0] == pytest.approx(K * 16.0, rel=0.01)
    assert (alone.idle[0, ..., 0] > alone.on_demand[0, ..., 0]).all()


def test_who_waits_does_not_see_how_long_spot_has_been_there():
    rates = np.full((1, 2, PHASES), 0.01)  # spot that lasts for ten minutes stays, and of thirty spells one does
    rates[:, 0], rates[:, 1, 0] = 4.0, 20.0
    asks, told = (
        solve(replace(map_of(1), rates=rates, told=told), 64.0, 48.0, first=1 / 6, keep=1.0).idle[0, 0, 0, -1]
        for told in (False, True)
    )
    assert asks > 16.0 + 1.0, "starts are lost until one is not"
    assert told < 16.0 + 1.0


def test_who_is_where_no_spot_is_sold_may_wait_for_other_zones():
    values = solve(replace(map_of(2), spot=np.array([np.inf, 1.0])), 64.0, 48.0, first=1 / 6, keep=1.0)
    assert values.idle[0, 0, PHASES:, -1] == pytest.approx(values.idle[0, 0, 0, -1], rel=0.01)


def test_ours_waits_for_its_zone_where_moves_are_dear_and_moves_where_they_are_not():
    up = traces(a="1" * 8 + "0" * 3 + "1" * 60, b="1" * 71)

    def zones(migration):
        policy = make_policy("skyloom", history={"a": [True, True, False] * 30, "b": [True] * 90}, history_step=0.5)
        out = simulate(policy, up, job(6.0, 16.0, migration=migration, zones=("a", "b")))
        return {leg.zone for leg in out.timeline if leg.state == "spot"}

    assert zones(0.0) == {"b"}
    waits = simulate(make_policy("skyloom"), up, replace(job(6.0, 16.0, migration=9.0, zones=("a", "b")),
                                                         spot_price={"a": 1.0, "b": 1.6}))  # fmt: skip
    assert [(leg.state, leg.zone) for leg in waits.timeline] == [("spot", "a"), ("idle", None), ("spot", "a")]


def test_a_job_with_much_slack_begins_at_once():
    zones = ("us-east-2b", "us-west-2a", "us-west-2b")
    up = Traces(1 / 6, {zone: np.ones(400, dtype=bool) for zone in zones})
    moves = {(one, other): Move(1.0, 0.002) for one in zones for other in zones if one != other}
    job = SpotJob(40.0, 60.0, 0.2, dict.fromkeys(zones, 0.92), dict.fromkeys(zones, 3.06), moves=moves)
    out = simulate(make_policy("skyloom"), up, job, sight="asked")
    assert [(leg.state, leg.begin) for leg in out.timeline] == [("spot", 0.0)]


def test_twenty_zones_at_odd_prices_are_decided_on():
    zones = [f"z{number}" for number in range(20)]
    up = Traces(1 / 6, {zone: np.arange(300) % 20 != number for number, zone in enumerate(zones)})
    prices = {zone: 0.5 + number / 10 for number, zone in enumerate(zones)}
    priced = SpotJob(6.0, 10.0, 0.1, prices, dict.fromkeys(zones, K), migration=0.2)
    out = simulate(make_policy("skyloom"), up, priced)
    assert out.finish <= 10.0
    assert out.cost < 2 * 0.5 * 6.1


@pytest.mark.parametrize(("other", "made"), [(1.1, 2), (0.9, 5)])
def test_tables_are_made_anew_where_they_could_make_the_job_leave(monkeypatch, other, made):
    solved = []
    monkeypatch.setattr(ours, "solve", lambda *about, **more: solved.append(about) or solve(*about, **more))
    up = Traces(1 / 6, {"a": np.ones(72, dtype=bool), "b": np.zeros(72, dtype=bool)})
    prices, moves = {"a": 1.0, "b": other}, {("a", "b"): Move(1.0, 0.0)}
    out = simulate(make_policy(), up, SpotJob(8, 12, 0.2, prices, {"a": 3.0, "b": 3.0}, moves=moves))
    assert out.changeovers == 1
    assert len(solved) == made
