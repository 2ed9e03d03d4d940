"""A machine's silence counts only while something else answers."""

from __future__ import annotations

import pytest

from sky_core.driver.stages.hearing import LONGEST_LOOK_S, Hearing


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hearing(clock):
    return Hearing(clock)


def look(hearing, clock, *, others, seconds=5.0, times=1):
    """Ask a machine in vain a few times, with or without another one that answers in between."""
    for _ in range(times):
        clock.now += seconds
        if others:
            hearing.answered("other")
        clock.now += 0.1
        silence = hearing.unanswered("m")
    return silence


def test_alone_it_is_silent(hearing, clock):
    assert hearing.unanswered("m").seconds == 0
    silence = look(hearing, clock, others=True, times=40)
    assert silence.seconds == pytest.approx(40 * 5.1)
    assert (silence.alone, silence.was_out) == (True, False)
    assert hearing.is_silent("m")


def test_with_all_others_it_is_our_own_network(hearing, clock):
    before = look(hearing, clock, others=True, times=3).seconds
    first = look(hearing, clock, others=False)
    assert (first.alone, first.was_out) == (False, False)
    assert look(hearing, clock, others=False, times=1000).seconds == before
    assert look(hearing, clock, others=True).seconds == pytest.approx(before + 5.1), "the clock goes on afterwards"
    ended = hearing.answered("m")
    assert ended is not None
    assert ended.was_out
    assert not hearing.is_silent("m")


def test_a_cloud_s_answer_shows_that_there_is_a_network(hearing, clock):
    hearing.unanswered("m")
    clock.now += 5
    hearing.heard()
    assert hearing.unanswered("m").seconds == 5


def test_a_driver_that_slept_holds_it_against_nobody(hearing, clock):
    hearing.unanswered("m")
    assert look(hearing, clock, others=True, seconds=12 * 3600).seconds == LONGEST_LOOK_S


def test_it_begins_anew_after_an_answer(hearing, clock):
    look(hearing, clock, others=True, times=9)
    hearing.answered("m")
    assert hearing.unanswered("m").seconds == 0
    hearing.forget("m")
    assert hearing.answered("m") is None
