"""``skyloom logs``: from a moment on, and what of a log is let through."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.cli.records.choosing import moment
from sky_core.cli.records.sifting import Sieve
from sky_core.config import Settings
from sky_core.errors import SpecError
from sky_core.store import Job, Store

LOG = b"loss 3\n(rank 1) died\n\x1b[1mloss 2\xff\x1b[0m\n 10%\r 20%\rloss 1\n(rank 12) loss\nno line's end: loss"


@pytest.mark.parametrize(
    ("pattern", "rank", "kept"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        ("loss", None, [0, 2, 3, 4, 5]),
        (r"^loss \d$", None, [0]),
        (None, 0, [0, 2, 3, 5]),
        (None, 1, [1]),
        ("loss", 12, [4]),
        ("é", None, []),
    ],
)
def test_lines_come_whole_and_as_they_are_however_they_arrive(
    pattern: str | None, rank: int | None, kept: list[int]
) -> None:
    lines = LOG.split(b"\n")
    chance, sieve, given, left = random.Random(1), Sieve(pattern, rank), b"", LOG
    while left:
        size = chance.randrange(1, 9)
        given += sieve.feed(left[:size])
        left = left[size:]
    assert given + sieve.end() == b"".join(lines[number] + b"\n" for number in kept)


@pytest.mark.parametrize("said", ["2026-11-26T10:00+02:00", "2026-11-26T08:00Z", "2026-11-26T08:00", "20261126T0800"])
def test_a_time_is_in_utc_unless_it_says_its_offset(said: str) -> None:
    assert moment(said, "--since") == 1795680000


def test_what_is_no_pattern() -> None:
    with pytest.raises(SpecError, match="--grep: '\\(' is no pattern"):
        Sieve("(")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose log was read at two times, an hour apart, the second half an hour ago."""
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    store = Store(Settings.load({"SKYLOOM_HOME": str(tmp_path)}).store_url)
    store.submit("run/train", plan_key="run", task="train", spec="{}", owner=None)
    [job] = store.lease_due("driver", 1, 60)
    clock, offset = store._clock, 0
    for ago_s, text in ((5400, b"early: loss 9\n"), (1800, b"late: loss 1\nlate: done\n")):
        store._clock = lambda ago_s=ago_s: clock() - ago_s  # type: ignore[misc]
        job = store.save_job(job, "driver", log=(offset, text), after_s=1e9)
        offset += len(text)
    store._clock = clock
    job = store.save_job(job, "driver", state="succeeded")
    store.close()
    return job


def test_the_command(job: Job) -> None:
    def said(*options: str) -> list[str]:
        result = CliRunner().invoke(app, ["logs", job.id, *options])
        assert result.exit_code == 0, result.output
        return [line for line in result.output.splitlines() if "loss" in line or "done" in line]

    assert said() == ["early: loss 9", "late: loss 1", "late: done"]
    assert said("--since", "1h") == ["late: loss 1", "late: done"]
    assert said("--since", "1h", "--grep", "loss") == ["late: loss 1"]
    assert said("--since", "1m") == []
