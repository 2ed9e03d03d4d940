"""Whatever the spot market does, a job under any policy ends by its deadline, and pays for spot when it can."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.errors import SpecError
from sky_core.recovery import Decision, Situation, make_policy
from sky_core.recovery.policies import NAMES, REFERENCE, SafetyNet

TICK, CHANGEOVER = 1 / 6, 0.2


def situation(**changes):
    plain = Situation(
        now=0.0, remaining_work=8.0, time_to_deadline=12.0, changeover=CHANGEOVER, changeover_left=0.0,
        decision_interval=TICK, total_work=8.0, total_time=12.0, price_ratio=3.0, state="idle", zone=None,
        spot_available={"a": True, "b": True}, spot_price={"a": 1.0, "b": 0.9}, on_demand_price={"a": 3.0, "b": 3.1},
        migration_cost={},
    )  # fmt: skip
    return replace(plain, **changes)


def run(policy, trace, work, deadline):
    """Finish time and spot hours of a job; ``trace`` says by tick whether spot is there."""
    now, left, starting, state, spot_hours = 0.0, work, 0.0, "idle", 0.0
    tick = 0
    while left > 1e-9:
        there = trace[min(tick, len(trace) - 1)]
        if state == "spot" and not there:
            state, starting = "idle", 0.0
        decision = policy.decide(
            situation(
                now=now, remaining_work=left, time_to_deadline=deadline - now, changeover_left=starting,
                total_work=work,
                total_time=deadline, state=state, zone="a" if state != "idle" else None, spot_available={"a": there},
                spot_price={"a": 1.0}, on_demand_price={"a": 3.0},
            )
        )  # fmt: skip
        assert decision.state != "spot" or there, "spot is not there"
        if decision.state != state:
            state, starting = decision.state, CHANGEOVER
        if state != "idle":
            used = min(TICK, starting)
            starting -= used
            left -= TICK - used
            spot_hours += TICK if state == "spot" else 0
        now += TICK
        tick += 1
        assert now < 10 * deadline
    return now + left, spot_hours


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(REFERENCE)),
    trace=st.lists(st.booleans(), min_size=1, max_size=150),
    work=st.floats(1, 12),
    slack=st.floats(1.2, 2.5),
)
def test_never_late(name, trace, work, slack):
    deadline = work * slack + 3 * CHANGEOVER + 2 * TICK
    finish, _ = run(make_policy(name), trace, work, deadline)
    assert finish <= deadline + 1e-6


@settings(max_examples=25)
@given(trace=st.lists(st.booleans(), min_size=1, max_size=150), slack=st.sampled_from([0.4, 0.9, 1.5, 4.0, 9.0]))
def test_ours_is_never_late(trace, slack):
    finish, _ = run(make_policy("skyloom"), trace, 8.0, 8.0 + slack)
    assert finish <= 8.0 + slack + 1e-6


def test_spot_is_used_when_it_is_there_and_on_demand_when_it_is_not():
    finish, spot = run(make_policy("uniform-progress"), [True], 8, 12)
    assert spot == pytest.approx(8 + CHANGEOVER, abs=TICK)
    _, none = run(make_policy("uniform-progress"), [False], 8, 12)
    assert none == 0
    assert run(make_policy("on-demand"), [True], 8, 12)[1] == 0
    assert finish <= 12


def test_uniform_progress_waits_when_ahead_and_pays_when_behind():
    policy = make_policy("uniform-progress")
    nothing = {"spot_available": {"a": False, "b": False}}
    assert policy.decide(situation(now=1.0, remaining_work=7.0, time_to_deadline=11.0, **nothing)) == Decision(
        "idle", None
    )
    behind = situation(now=2.0, remaining_work=7.9, time_to_deadline=10.0, **nothing)
    assert policy.decide(behind) == Decision("on_demand", "a")


def test_the_cheapest_zone_counts_the_move():
    policy = make_policy("greedy")
    assert policy.decide(situation()).zone == "b"
    assert policy.decide(situation(migration_cost={"b": 5.0})).zone == "a"


def test_no_hop_between_zones_without_the_time_for_it():
    class Hopper:
        def decide(self, situation):
            return Decision("on_demand", "b" if situation.zone == "a" else "a")

    here = {"state": "on_demand", "zone": "a", "remaining_work": 8.0}
    assert SafetyNet(Hopper()).decide(situation(**here, time_to_deadline=8.1)) == Decision("on_demand", "a")
    assert SafetyNet(Hopper()).decide(situation(**here, time_to_deadline=8.3)) == Decision("on_demand", "b")


def test_done_is_idle_and_an_unknown_name_is_an_error():
    assert make_policy("greedy").decide(situation(remaining_work=0.0)) == Decision("idle", None)
    with pytest.raises(SpecError, match="no policy 'psychic'"):
        make_policy("psychic")


@pytest.mark.parametrize("name", NAMES)
def test_where_on_demand_is_refused_everywhere_it_is_asked_for_in_no_zone(name):
    policy = make_policy(name)
    for now in range(12):
        decision = policy.decide(
            situation(now=float(now), remaining_work=8.0, time_to_deadline=12.0 - now, on_demand_price={},
                      spot_available={"a": False, "b": False})
        )  # fmt: skip
        assert decision.state != "spot"
        assert decision.zone is None
    assert decision.state == "on_demand"
