"""A job's events: each kind has words, and a kind that a later version wrote is still shown."""

from __future__ import annotations

from typing import Any, cast, get_args

from sky_core.job.narrate import WORDS, describe
from sky_core.store import Event, EventKind


def test_each_kind_of_event_has_words() -> None:
    assert set(WORDS) == set(get_args(EventKind))


def test_an_event_of_a_later_version_is_shown_as_it_is() -> None:
    assert describe(Event(1, "job-1", 0.0, cast(Any, "defrosted"), {"why": "spring"})) == "defrosted {'why': 'spring'}"
