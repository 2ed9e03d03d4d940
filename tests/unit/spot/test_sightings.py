"""What a situation shows of the market, and what it takes for granted."""

import pytest

from sky_core.recovery import Decision
from sky_core.recovery.beliefs.market_model import PHASES
from sky_core.recovery.beliefs.sightings import Sightings
from tests.unit.spot.test_recovery import TICK, situation


def follow(*looks, told=False):
    """Sightings after looks: a situation's changes and the decision thereafter."""
    seen = Sightings(None, None)
    for changes, wish in looks:
        now = situation(**changes)
        seen.look(now, told=told)
        seen.decided(now, Decision(*wish))
    return seen


def chance(seen, zone):
    return float(seen.zones[zone].forecast()[PHASES:].sum())


UP, IDLE = {"a": True, "b": True}, ("idle", None)


def test_that_a_zone_was_not_refused_lately_shows_nothing():
    seen = follow(({"spot_available": UP}, IDLE), ({"now": TICK, "spot_available": UP}, IDLE))
    assert seen.zones["a"].up is None


def test_a_refused_launch_shows_that_spot_is_not_there_and_ten_minutes_later_it_hardly_is():
    seen = follow(
        ({"spot_available": UP}, ("spot", "a")),
        ({"spot_available": {"a": False, "b": True}}, IDLE),
        ({"now": TICK, "spot_available": UP}, IDLE),
    )
    assert seen.zones["b"].up is None
    assert seen.zones["a"].up is False
    assert 0 < chance(seen, "a") < 0.5
    assert seen.home is None


def test_a_launch_that_is_lost_at_once_was_there_and_took_the_checkpoint_along():
    seen = follow(
        ({"spot_available": UP}, ("spot", "a")),
        ({"now": TICK, "spot_available": {"a": False, "b": True}}, IDLE),
    )
    assert seen.home == "a"
    assert seen.zones["a"].known  # when this spell began
    assert chance(seen, "a") == 0


def test_a_checkpoint_that_has_still_to_be_brought_is_where_it_was():
    looks = (
        ({"spot_available": UP, "state": "spot", "zone": "a", "moving_hours": {"a": 0.0, "b": 1.0}}, ("spot", "b")),
        ({"now": TICK, "spot_available": UP, "state": "spot", "zone": "b", "moving_hours": {"a": 0.0, "b": 1.0}}, IDLE),
        ({"now": 1.0, "spot_available": UP, "state": "spot", "zone": "b", "moving_hours": {"a": 1.0, "b": 0.0}}, IDLE),
    )
    assert [follow(*looks[:count]).home for count in (1, 2, 3)] == ["a", "a", "b"]
    taken = {"now": 1.0, "spot_available": UP, "state": "idle", "zone": None, "moving_hours": {"a": 1.0, "b": 0.0}}
    assert follow(*looks[:2], (taken, IDLE)).home == "b", "it came there, and was taken before the next look"


def test_where_all_states_are_told_every_look_counts():
    seen = follow(
        ({"spot_available": {"a": False, "b": True}}, IDLE),
        ({"now": TICK, "spot_available": {"a": True, "b": True}}, IDLE),
        told=True,
    )
    assert [chance(seen, zone) for zone in ("a", "b")] == pytest.approx([1, 1])


def test_what_the_situation_says_was_seen_counts_and_nothing_else():
    seen = follow(
        ({"spot_available": {"a": False, "b": True}, "seen": {}}, ("spot", "b")),  # the region's quota, say
        ({"now": 1.0, "spot_available": {"a": True, "b": False}, "seen": {"b": False}}, IDLE),
    )
    assert seen.zones["a"].up is None
    assert chance(seen, "b") == 0
    assert seen.home is None


def test_a_zone_that_is_not_to_be_asked_again_yet_has_been_seen_once():
    down = {"a": False, "b": True}
    wishes = [({"now": number * TICK, "spot_available": down}, IDLE) for number in range(1, 5)]
    seen = follow(({"spot_available": UP}, ("spot", "a")), ({"spot_available": down}, IDLE), *wishes)
    assert seen.zones["a"].blind == pytest.approx(4 * TICK)
    assert 0 < chance(seen, "a") < 1
