"""Moving between zones costs egress and hours, prices change, and a launch is the only way to learn of spot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.hindsight import hindsight_cost
from lab.omniscient import omniscient_costs
from lab.simulate import Move, SpotJob, Truth, simulate
from lab.traces import Traces
from sky_core.recovery import Decision, make_policy, ours
from sky_core.recovery.policies import REFERENCE, SafetyNet
from tests.unit.spot.test_recovery import situation

STEP, K = 1 / 6, 3.0
ZONES = ("a", "b", "c")


def traces(**zones):
    return Traces(STEP, {zone: np.array([mark == "1" for mark in marks]) for zone, marks in zones.items()})


def job(work, deadline, moves=(), **changes):
    """Moves are "ab" to USD and hours."""
    pairs = {(pair[0], pair[1]): Move(*took) for pair, took in dict(moves).items()}
    plain = SpotJob(work, deadline, 0.2, dict.fromkeys(ZONES, 1.0), dict.fromkeys(ZONES, K), moves=pairs)
    return replace(plain, **changes)


class Follows:
    """Goes where it is told, tick by tick, and stays at the last."""

    def __init__(self, *zones):
        self.zones = zones

    def decide(self, situation):
        self.seen = situation
        zone = self.zones[min(round(situation.now / STEP), len(self.zones) - 1)]
        if zone and not situation.spot_available[zone]:
            zone = situation.zone
        return Decision("spot" if zone else "idle", zone)


def test_a_move_is_paid_and_takes_its_time_and_the_first_start_moves_nothing():
    up = traces(a="1" * 60, b="1" * 60, c="1" * 60)
    moves = {"ab": (5.0, 0.5), "ba": (7.0, 0.25)}
    policy = Follows("a", "a", "a", "b")
    out = simulate(policy, up, job(2.0, 9.0, moves))
    assert out.egress == 5.0
    assert out.finish == pytest.approx(0.2 + 0.3 + 0.2 + 0.5 + 1.7)
    assert out.cost == pytest.approx(out.finish + 5.0)
    assert dict(policy.seen.moving_hours) == {"a": 0.25, "b": 0.0, "c": 0.0}
    assert dict(policy.seen.migration_cost) == {"a": 7.0, "b": 0.0, "c": 0.0}


@pytest.mark.parametrize(("moved", "egress", "finish"), [("begun", 5.0, 9), ("over", 10.0, 12)])
def test_a_move_cut_short_by_another_start_is_over_or_is_to_be_made_again(moved, egress, finish):
    class GivesUp(Follows):
        """On spot in b, then at once on demand there."""

        def decide(self, situation):
            wish = super().decide(situation)
            return Decision("on_demand", "b") if situation.now > 0.4 else wish

    up = traces(a="1" * 60, b="1" * 60, c="1" * 60)
    policy = GivesUp("a", "a", "b")
    out = simulate(policy, up, job(1.0, 9.0, {"ab": (5.0, 0.5)}, changeover=1 / 6, moved=moved))
    assert out.egress == egress
    assert out.finish / STEP == pytest.approx(finish)
    assert policy.seen.moving_hours["b"] == 0.0, "in the end it is there"


def test_a_move_that_spot_was_too_short_for_leaves_the_checkpoint_where_it_was():
    up = traces(a="111" + "0" * 57, b="1111" + "0" * 56, c="1" * 60)
    moves = {"ab": (5.0, 0.5), "ac": (1.0, 0.0), "bc": (2.0, 0.0)}
    for moved, then in (("begun", 2.0), ("over", 1.0)):
        out = simulate(Follows("a", "a", "a", "b", "c"), up, job(2.0, 9.0, moves, moved=moved))
        assert out.egress == 5.0 + then


def test_prices_change_by_tick():
    up = traces(a="1" * 60, b="1" * 60, c="1" * 60)
    dearer = {"a": np.linspace(1.0, 6.9, 60), "b": 1.0, "c": 1.0}
    out = simulate(Follows("a"), up, job(0.3, 9.0, spot_price=dearer), start=10)
    assert out.cost == pytest.approx((2.0 + 2.1 + 2.2) / 6)


def test_where_a_launch_is_the_probe_refusals_are_counted_and_leave_the_job_where_it_is():
    up = traces(a="1" * 60, b="0001" + "1" * 56, c="0" * 60)
    out = simulate(Follows("a", "b"), up, job(2.0, 9.0, refusal=0.01), sight="asked")
    assert [(leg.zone, round(leg.begin / STEP)) for leg in out.timeline] == [("a", 0), ("b", 3)]
    assert out.refusals == 2
    assert out.cost == pytest.approx(out.finish + 0.02)


def test_a_machine_is_billed_for_its_least_time():
    up = traces(a="10" + "1" * 58, b="0" * 60, c="0" * 60)
    plain = simulate(make_policy("greedy"), up, job(2.0, 9.0))
    billed = simulate(make_policy("greedy"), up, job(2.0, 9.0, least_billed=0.5))
    assert billed.cost == pytest.approx(plain.cost + 0.5 - STEP)


@settings(max_examples=12)
@given(marks=st.lists(st.text("01", min_size=40, max_size=40), min_size=2, max_size=3), work=st.integers(4, 18))
def test_hindsight_agrees_with_the_one_for_equal_zones(marks, work):
    up = traces(**dict(zip(ZONES, marks, strict=False)))
    zones = list(up.up)
    same = SpotJob(work / 6, 40 / 6, 0.2, dict.fromkeys(zones, 1.0), dict.fromkeys(zones, K))
    [best] = omniscient_costs(
        up, work=same.work, deadlines=[same.deadline], changeover=0.2, spot_price=1.0, on_demand_price=K
    )
    assert hindsight_cost(up, same) == pytest.approx(best)


MOVES = {"ab": (0.3, 1 / 3), "ba": (0.1, 0.1), "ac": (0.0, 0.0), "ca": (0.2, 0.5), "bc": (0.4, 0.2), "cb": (0.0, 1.0)}


@settings(max_examples=15)
@given(
    marks=st.lists(st.text("01", min_size=60, max_size=60), min_size=3, max_size=3),
    name=st.sampled_from(["greedy", "uniform-progress", "on-demand"]),
    sight=st.sampled_from(["told", "asked"]),
    moved=st.sampled_from(["begun", "over"]),
)
def test_no_policy_beats_hindsight_where_moves_cost(marks, name, sight, moved):
    up, moving = traces(**dict(zip(ZONES, marks, strict=True))), job(4.0, 8.0, MOVES, moved=moved)
    out = simulate(make_policy(name), up, moving, sight=sight)
    assert out.finish <= 8.0 + 1e-6
    best = hindsight_cost(up, moving, unit_s=60)
    assert out.cost >= best - 1e-6
    assert best >= hindsight_cost(up, replace(moving, moved="begun"), unit_s=60) - 1e-6


HOURS = st.floats(0.0, 2.0)


class Adversary:
    """Takes spot wherever it is had, after so many ticks."""

    def __init__(self, inside, up, patience):
        self.inside, self.up, self.patience, self.ticks = inside, up, patience, 0

    def decide(self, situation):
        decision = self.inside.decide(situation)
        self.ticks += decision.state == "spot"
        if decision.state == "spot" and self.ticks % self.patience == 0:
            self.up.up[decision.zone][round(situation.now / STEP) + 1] = False
        return decision


def late(name, distances, slack, marks, patience, sight, wrong=0.0):
    """Hours after the deadline at which a job ends. Zones lie on a tree: two are as far apart as the farther of them
    is from the first."""
    took = {
        one + other: (0.1, max(distances[i], distances[j]))
        for i, one in enumerate(ZONES)
        for j, other in enumerate(ZONES)
        if i != j
    }
    up = traces(**dict(zip(ZONES, (marks[:70] + marks * 40, marks[::-1] * 40, marks[1:] * 40), strict=True)))
    moving = job(3.0, 3.0 + 0.2 + slack, took)
    truth = Truth(3.0, [0.2 + wrong])
    policy = Adversary(make_policy(name), up, patience)
    return simulate(policy, up, moving, truth=truth, sight=sight).finish - moving.deadline


@settings(max_examples=80)
@given(
    name=st.sampled_from(sorted(REFERENCE)), distances=st.tuples(st.just(0.0), HOURS, HOURS), slack=st.floats(0, 6),
    marks=st.text("01", min_size=10, max_size=80), patience=st.integers(1, 9),
    sight=st.sampled_from(["told", "asked"]), wrong=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_moves_make_no_job_late(name, distances, slack, marks, patience, sight, wrong):
    assert late(name, distances, slack, marks, patience, sight, wrong) <= 2 * wrong + 1e-6


@settings(max_examples=8)
@given(
    distances=st.tuples(st.just(0.0), HOURS, HOURS), slack=st.floats(0, 6),
    marks=st.text("01", min_size=10, max_size=80), patience=st.integers(1, 9), sight=st.sampled_from(["told", "asked"]),
)  # fmt: skip
def test_nor_do_they_make_ours_late(distances, slack, marks, patience, sight):
    assert late("skyloom", distances, slack, marks, patience, sight) <= 1e-6


def test_the_way_out_has_to_be_in_time_as_well():
    class Wishes:
        def __init__(self, *wish):
            self.wish = Decision(*wish)

        def decide(self, situation):
            return self.wish

    far = {"spot_available": {"a": True, "b": True}, "moving_hours": {"b": 1.0}, "remaining_work": 8.0}
    assert SafetyNet(Wishes("spot", "b")).decide(situation(**far, time_to_deadline=9.5)).zone == "b"
    assert SafetyNet(Wishes("spot", "b")).decide(situation(**far, time_to_deadline=9.3)) == Decision("on_demand", "a")
    only = {**far, "on_demand_price": {"b": 3.0}}  # where the checkpoint is there is no on-demand
    assert SafetyNet(Wishes("idle", None)).decide(situation(**only, time_to_deadline=9.4)).state == "idle"
    assert SafetyNet(Wishes("idle", None)).decide(situation(**only, time_to_deadline=9.3)).state == "on_demand"
    cheap = {**far, "on_demand_price": {"a": 3.0, "b": 0.5}}
    assert SafetyNet(Wishes("on_demand", "b")).decide(situation(**cheap, time_to_deadline=9.3)).zone == "b"
    assert SafetyNet(Wishes("on_demand", "b")).decide(situation(**cheap, time_to_deadline=9.0)).zone == "a"


def test_what_a_move_has_to_gain_holds_it_back_while_slack_is_plentiful_and_no_longer(monkeypatch):
    gone = traces(a="1" * 12 + "0" * 200, b="1" * 212)
    began = []
    for worth in (0.0, 1e6):
        monkeypatch.setattr(ours, "WORTH_MOVING", worth)
        out = simulate(make_policy("skyloom"), gone, job(10.0, 20.0, {"ab": (0.5, 0.0), "ba": (0.5, 0.0)}))
        began.append(next(leg.begin for leg in out.timeline if leg.zone == "b" or leg.state == "on_demand"))
        assert out.finish <= 20.0
    left = 10.0 - (2.0 - 0.2)  # of the work, as spot is lost
    assert began[0] < began[1]
    assert 20.0 - began[1] - left == pytest.approx(ours.PLENTY * left, abs=2 * STEP)
