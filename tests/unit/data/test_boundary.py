"""What a token that is lent on Google Cloud reaches, within what Google lets a boundary hold."""

from __future__ import annotations

import pytest

from sky_core.clouds.base import Reach
from sky_core.clouds.gcp.lending import LONGEST, RULES, rules
from sky_core.errors import AuthError
from sky_sandbox.logins import Login, allows_gcs


def reads(reaches: list[Reach], bucket: str, name: str, *, write: bool = False) -> bool:
    return allows_gcs(Login("", tuple(rules(reaches)), 0.0), bucket, write=write, name=name)


def test_no_name_that_only_begins_like_the_one_that_was_asked_for():
    asked = [Reach("gs://b/data", write=False), Reach("gs://b/out", write=True)]
    assert reads(asked, "b", "data")
    assert reads(asked, "b", "data/part-0")
    assert not reads(asked, "b", "data-secret/part-0")
    assert not reads(asked, "b", "out2/part-0", write=True)
    login = Login("", tuple(rules(asked)), 0.0)
    assert allows_gcs(login, "b", write=False, prefix="data/")
    assert not allows_gcs(login, "b", write=False, prefix="data-")


@pytest.mark.parametrize("many", [1, 10, 40, 400])
def test_as_many_inputs_as_a_task_has_within_the_limits(many):
    folder = "runs/2026-11-27T00:00:00/checkpoints/job-0123456789abcdef"
    asked = [Reach(f"gs://b/{folder}/part-{number}", write=False) for number in range(many)]
    made = rules(asked)
    assert len(made) <= RULES
    assert all(len(rule["availabilityCondition"]["expression"]) <= LONGEST for rule in made)
    assert all(reads(asked, "b", f"{folder}/part-{number}/x") for number in range(many))
    assert not reads(asked, "b", "runs/else")


def test_more_buckets_than_it_can_hold_are_refused():
    with pytest.raises(AuthError, match="10 buckets at most") as refused:
        rules([Reach(f"gs://b{number}/x", write=False) for number in range(RULES + 1)])
    assert "machine_identity" in refused.value.cure
