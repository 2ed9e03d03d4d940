"""To be told every zone's state never costs a job more than to have to ask."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.simulate import Move, SpotJob, simulate
from lab.traces import Traces
from sky_core.recovery import Decision, make_policy
from sky_core.recovery.beliefs.answers import Answers
from sky_core.recovery.situation import ASK_AGAIN
from tests.unit.spot.test_recovery import TICK, situation

ZONES = ("a", "b", "c")
MOVES = {(one, other): Move(usd, 0.0) for one, other, usd in (("a", "b", 0.3), ("b", "c", 2.0), ("a", "c", 1.0))}
MOVES |= {(to, origin): move for (origin, to), move in MOVES.items()}
MARKET = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=8)


def spells(lengths, ticks):
    marks = [mark for up, down in lengths for mark in [True] * up + [False] * down]
    return np.resize(np.array(marks), ticks)


def job(work, slack, moves):
    prices = {"a": 1.0, "b": 0.9, "c": 1.2}
    return SpotJob(work, work + slack, 0.2, prices, dict.fromkeys(ZONES, 3.0), moves=moves)


@settings(max_examples=40, deadline=None)
@given(markets=st.tuples(MARKET, MARKET, MARKET), work=st.floats(2, 12), slack=st.floats(1, 8))
def test_where_moves_cost_something_a_job_goes_as_one_that_has_to_ask(markets, work, slack):
    ticks = round((work + slack) / TICK) + 3
    up = Traces(TICK, {zone: spells(market, ticks) for zone, market in zip(ZONES, markets, strict=True)})
    went = {
        sight: simulate(make_policy("skyloom"), up, job(work, slack, MOVES), sight=sight) for sight in ("told", "asked")
    }
    assert went["told"].timeline == went["asked"].timeline
    assert went["told"].cost == pytest.approx(went["asked"].cost)


@pytest.mark.parametrize("moves", [{}, MOVES], ids=["free", "paid"])
def test_where_moves_are_free_what_is_told_counts_at_once(moves):
    """All zones are lost, and the dearest is back before it would be asked again: who was told goes there at once."""
    up = {"a": "1" * 12 + "0" * 90, "b": "1" * 12 + "0" * 90, "c": "0" * 13 + "1" * 89}
    traces = Traces(TICK / 4, {zone: np.array([mark == "1" for mark in marks]) for zone, marks in up.items()})
    out = simulate(make_policy("skyloom"), traces, job(2.5, 1.0, moves))
    at_once = [leg for leg in out.timeline if leg.zone == "c" and leg.begin == pytest.approx(13 * TICK / 4)]
    assert bool(at_once) == (not moves)


def asked_in_vain(zone):
    """Answers after a launch in a zone was refused at time 0."""
    answers, now = Answers(), situation(spot_available={"a": False, "b": False})
    answers.look(now)
    assert not answers.answer(now, Decision("spot", zone))
    return answers


def test_a_zone_is_taken_to_have_spot_unless_it_was_asked_lately():
    answers = asked_in_vain("a")
    for now, expected in ((0.0, False), (ASK_AGAIN / 2, False), (ASK_AGAIN, True)):
        shown = answers.shown(situation(now=now, spot_available={"a": True, "b": False}))
        assert shown.spot_available == {"a": expected, "b": True}


def test_spot_that_was_lost_was_seen_to_go():
    answers, on_spot = asked_in_vain("a"), situation(spot_available={"a": False, "b": True}, now=1.0)
    answers.look(on_spot)
    assert answers.answer(on_spot, Decision("spot", "b"))
    lost = replace(on_spot, now=1.0 + TICK, spot_available={"a": True, "b": False})
    answers.look(lost)
    assert answers.shown(lost).spot_available == {"a": True, "b": False}


def test_nothing_is_hidden_of_what_launches_have_shown():
    answers = Answers()
    now = situation(spot_available={"a": False, "b": True}, seen={"a": False})
    answers.look(now)
    assert answers.shown(now) == now


def test_that_all_states_are_told_shows_where_a_zone_is_down_that_nobody_asked():
    answers = asked_in_vain("a")
    assert answers.told, "b is down"
    for wish, expected in (("a", False), ("b", True)):
        answers, now = Answers(), situation(spot_available={"a": True, "b": True})
        answers.look(now)
        assert answers.answer(now, Decision("spot", wish))
        answers.look(replace(now, spot_available={"a": False, "b": True}))
        assert answers.told == expected
