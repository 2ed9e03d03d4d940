"""Where ``skyloom exec`` takes the rank from."""

from __future__ import annotations

import pytest

from sky_core.cli.records import entering


@pytest.mark.parametrize(
    ("words", "rank", "command"),
    [
        (["ls", "--rank", "1"], 0, ["ls", "--rank", "1"]),
        (["--rank", "1", "ls"], 1, ["ls"]),
        (["--rank=2", "ls", "-l"], 2, ["ls", "-l"]),
    ],
)
def test_a_rank_may_follow_the_job(words, rank, command):
    assert entering._rank_said(0, words) == (rank, command)
