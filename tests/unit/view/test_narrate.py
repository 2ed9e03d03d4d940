"""A job's events: each kind has words, rows of earlier versions are read, and those of later ones still shown."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, cast, get_args

import pytest

from sky_core.events import KINDS, EventKind, Happening, Moved, read
from sky_core.job.narrate import describe
from sky_core.store import Event

EXAMPLES: dict[str, Any] = {
    "str": "b", "int": 2, "float": 0.5, "bool": True, "Sequence[str]": ["a"], "Mapping[str, float]": {"wait": 1.0}
}  # fmt: skip

# As the first version that wrote each of them did, and what it said of them.
EARLIER: list[tuple[EventKind, dict[str, object], str]] = [
    ("restored", {"attempt": 2, "generation": 3, "bytes": 4096}, "checkpoint generation 3 restored (4,096 bytes)"),
    (
        "launched",
        {"attempt": 1, "instances": ["i-1"], "cloud": "aws", "region": "r", "zone": None, "instance_type": "m",
         "use_spot": True},
        "attempt 1: aws/r m (spot) accepted the launch (i-1)",
    ),
    ("preempted", {"attempt": 1, "checkpoint": 4}, "attempt 1: preempted"),
    ("succeeded", {"exit_code": 0, "value": "sha"}, "succeeded"),
    ("failed", {"exit_code": None, "error": "no machine"}, "failed: no machine"),
]  # fmt: skip


def example(kind: type[Happening]) -> Happening:
    types = {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(cast(Any, kind))}
    for name, of in types.items():
        assert of in EXAMPLES, f"{kind.__name__}.{name}: give EXAMPLES a {of} that survives JSON"
    return kind(**{name: EXAMPLES[of] for name, of in types.items()})


def test_each_kind_of_event_has_words() -> None:
    assert set(KINDS) == set(get_args(EventKind)), "a class has its kind in EventKind, and is imported in __init__.py"
    for kind in KINDS.values():
        assert len(example(kind).words()) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_comes_back_from_the_store_as_it_was(kind: str) -> None:
    told = example(KINDS[kind])
    assert read(kind, json.loads(json.dumps(told.data()))) == told


def test_launches_into_reservations_say_so() -> None:
    there = {"cloud": "aws", "region": "r", "zone": None, "instance_type": "m", "use_spot": False, "reserved": True}
    said = describe(Event(1, "job-1", 0.0, "launched", {"attempt": 1, "instances": ["i-1"], **there}))
    assert said == "attempt 1: aws/r m (reserved) accepted the launch (i-1)"


def test_rows_say_from_and_to() -> None:
    moved = Moved(input="a", bytes=1, gb=0.1, usd=0.01, from_="aws/r", to="gcp/r")
    assert moved.data() == {"input": "a", "bytes": 1, "gb": 0.1, "usd": 0.01, "from": "aws/r", "to": "gcp/r"}


@pytest.mark.parametrize(("kind", "data", "words"), EARLIER, ids=[kind for kind, *_ in EARLIER])
def test_an_event_of_an_earlier_version_is_read(kind: EventKind, data: dict[str, object], words: str) -> None:
    assert describe(Event(1, "job-1", 0.0, kind, data)) == words


def test_an_event_of_a_later_version_is_shown_as_it_is() -> None:
    assert describe(Event(1, "job-1", 0.0, cast(Any, "defrosted"), {"why": "spring"})) == "defrosted {'why': 'spring'}"
    newer = {"attempt": 1, "phase": "running", "mood": "good"}
    assert describe(Event(1, "job-1", 0.0, "phase", newer)) == "attempt 1: running"
    assert describe(Event(1, "job-1", 0.0, "phase", {"stage": "running"})) == "phase {'stage': 'running'}"
