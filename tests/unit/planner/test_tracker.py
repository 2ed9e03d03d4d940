"""The tracker: blocks, chances, preemption rates and effective prices."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core.errors import Scope
from sky_core.store.records import Observation, Seen
from sky_core.tracker import Blocked, Offering, Tracker, checkpoint_interval, expected_overhead
from sky_core.tracker.beliefs import published_rate

NOW = 1_800_000_000.0
HOUR = 3600.0
HERE = Offering("aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "V100", 1, 0.05)
SEEN = Observation(NOW - 60, "aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "capacity", accelerator="V100")


def tracker(*seen: Observation) -> Tracker:
    return Tracker(seen, NOW)


# --- blocks ---------------------------------------------------------------------------------------------------


def test_a_refusal_blocks_its_zone_type_and_market_until_the_ttl_has_passed() -> None:
    (block,) = tracker(SEEN).blocked(600)
    assert block.covers(HERE)
    assert not block.covers(replace(HERE, zone="us-east-1b"))
    assert not block.covers(replace(HERE, market="on-demand"))
    assert not block.covers(replace(HERE, instance_type="p3.8xlarge"))
    assert block.until == SEEN.at + 600
    assert block.reason == "capacity in us-east-1a"
    assert tracker(SEEN).blocked(59) == []


@pytest.mark.parametrize(
    ("kind", "said"), [("invalid", "invalid request"), ("unclear", "no clear answer"), ("quota", "quota")]
)
def test_a_refusal_is_called_what_it_was(kind: Seen, said: str) -> None:
    (block,) = tracker(replace(SEEN, kind=kind)).blocked(600)
    assert block.covers(HERE)
    assert block.reason == f"{said} in us-east-1a"
    assert block.passing == (kind == "unclear")
    offering = replace(HERE, market="on-demand")
    refused = replace(SEEN, kind=kind, market="on-demand")
    assert (tracker(refused).chance(offering) < tracker().chance(offering)) == (kind == "quota")


def test_a_zone_that_refused_three_kinds_is_sold_out_and_a_region_with_three_such_zones() -> None:
    plain = replace(SEEN, accelerator=None)
    refused = [
        replace(plain, zone=f"us-east-1{zone}", instance_type=f"m{number}.large", at=NOW - 60 + number)
        for zone in "abc"
        for number in range(3)
    ]
    *zones, region = tracker(*refused).sold_out(600)
    other = Offering("aws", "us-east-1", "us-east-1a", "c5.large", "spot")
    assert [zone.covers(other) for zone in zones] == [True, False, False]
    assert region.covers(replace(other, zone="us-east-1f"))
    assert not region.covers(replace(other, market="on-demand"))
    assert not region.covers(HERE), "machines with accelerators are another matter"
    assert all(block.guessed for block in (*zones, region))
    assert tracker(*refused[:8]).sold_out(600) == tracker(*refused).sold_out(600)[:2], (
        "two zones say nothing of a third"
    )
    assert tracker(*refused[:2]).sold_out(600) == [], "nor do two kinds of a third"
    given_since = replace(plain, kind="launched", instance_type="t3.small", at=NOW - 1)
    assert tracker(*refused[:3], given_since).sold_out(600) == []


def test_scopes_widen_to_the_region_and_for_bad_credentials_to_the_cloud() -> None:
    (quota,) = tracker(replace(SEEN, kind="quota", scope="region")).blocked(600)
    assert quota.covers(replace(HERE, zone="us-east-1f"))
    assert not quota.covers(replace(HERE, region="us-west-2", zone=None))
    (auth,) = tracker(replace(SEEN, kind="auth", scope="cloud")).blocked(600)
    assert auth.covers(Offering("aws", "eu-west-1", None, "m5.large", "on-demand"))
    assert not auth.covers(Offering("gcp", "us-central1", None, "n1-standard-8", "spot"))


def test_missing_rights_block_no_more_than_their_scope() -> None:
    def blocked(scope: Scope) -> Blocked:
        (block,) = tracker(replace(SEEN, kind="auth", scope=scope)).blocked(600)
        return block

    other_type = replace(HERE, instance_type="m5.large", accelerator=None)
    elsewhere = replace(HERE, region="us-west-2", zone=None)
    on_demand = replace(HERE, market="on-demand")
    assert blocked("region").covers(replace(other_type, market="on-demand"))
    assert not blocked("region").covers(elsewhere)
    assert blocked("zone").covers(on_demand)
    assert not blocked("zone").covers(replace(HERE, zone="us-east-1f"))
    assert blocked("market").covers(elsewhere)
    assert not blocked("market").covers(on_demand), "who may not have spot machines may still have others"
    assert blocked("type").covers(replace(elsewhere, market="on-demand"))
    assert not blocked("type").covers(other_type)


def test_a_machine_refused_with_an_accelerator_may_still_be_had_without() -> None:
    place = ("gcp", "us-central1", "us-central1-a", "n1-standard-8")
    plain = Offering(*place, "spot")
    with_gpu = replace(plain, accelerator="V100", accelerator_count=1)
    seen = tracker(Observation(NOW - 60, *place, "spot", "capacity", accelerator="V100"))
    (block,) = seen.blocked(600)
    assert block.covers(with_gpu)
    assert not block.covers(plain)
    assert not block.covers(replace(with_gpu, accelerator="T4"))
    assert seen.chance(with_gpu) < seen.chance(plain) == 0.8


def test_a_launch_after_the_refusal_lifts_the_block() -> None:
    launched = replace(SEEN, at=NOW - 10, kind="launched")
    assert tracker(SEEN, launched).blocked(600) == []
    assert len(tracker(replace(launched, at=NOW - 100), SEEN).blocked(600)) == 1
    assert len(tracker(SEEN, replace(launched, zone="us-east-1b")).blocked(600)) == 1


def test_refusing_again_and_again_blocks_for_longer_up_to_eight_times() -> None:
    refusals = [replace(SEEN, at=NOW - 60 - back * 500) for back in range(6)]
    assert [tracker(*refusals[:n]).blocked(600)[0].until - SEEN.at for n in (1, 2, 3, 4, 6)] == [
        600,
        1200,
        2400,
        4800,
        4800,
    ]


def test_what_a_login_was_refused_is_lifted_by_its_own_launches_only() -> None:
    refused = replace(SEEN, kind="auth", scope="cloud", login="mine")
    launched = replace(SEEN, at=NOW - 30, kind="launched")
    assert tracker(refused, replace(launched, login="mine")).blocked(600) == []
    for other in ("theirs", None):
        assert len(tracker(refused, replace(launched, login=other)).blocked(600)) == 1
    account_wide = replace(refused, login=None)
    assert tracker(account_wide, replace(launched, login="theirs")).blocked(600) == []


# --- chances --------------------------------------------------------------------------------------------------


def test_without_observations_the_priors_speak() -> None:
    assert tracker().chance(HERE) == 0.8
    assert tracker().chance(replace(HERE, market="on-demand")) == 0.95
    assert tracker().chance(replace(HERE, market="on-demand", accelerator_count=8)) == 0.25


def test_a_refusal_weighs_most_in_its_own_zone_and_fades() -> None:
    seen = tracker(SEEN)
    here, region = seen.chance(HERE), seen.chance(replace(HERE, zone="us-east-1b"))
    elsewhere, other_type = (
        seen.chance(replace(HERE, region="us-west-2", zone="us-west-2a")),
        seen.chance(replace(HERE, instance_type="g5.xlarge")),
    )
    assert here < region < elsewhere < 0.8 == other_type
    later = Tracker([SEEN], NOW + 100 * HOUR)
    assert later.chance(HERE) == pytest.approx(0.8, abs=0.01)


@given(st.lists(st.tuples(st.sampled_from(["launched", "capacity", "quota"]), st.floats(0, 1e6)), max_size=20))
def test_a_chance_is_a_probability_and_a_success_never_lowers_it(history: list[tuple[str, float]]) -> None:
    seen = [replace(SEEN, kind=kind, at=NOW - ago) for kind, ago in history]  # type: ignore[arg-type]
    before = tracker(*seen).chance(HERE)
    assert 0 < before < 1
    assert tracker(*seen, replace(SEEN, kind="launched")).chance(HERE) >= before - 1e-12
    assert tracker(*seen, SEEN).chance(HERE) <= before + 1e-12


# --- spot lifetimes -------------------------------------------------------------------------------------------


def test_published_bands_are_the_prior_of_the_preemption_rate() -> None:
    assert tracker().preemptions_per_hour(HERE) == pytest.approx(-math.log(0.95) / 730)
    assert tracker().preemptions_per_hour(replace(HERE, cloud="gcp", interruption=None)) == pytest.approx(0.1 / 24)
    assert tracker().preemptions_per_hour(replace(HERE, market="on-demand")) == 0
    assert published_rate("azure", None) == 0.025


def test_observed_lifetimes_outweigh_the_prior_and_survivors_count() -> None:
    rng = np.random.default_rng(7)
    lives = rng.exponential(5.0, 60)
    dead = [replace(SEEN, kind="preempted", hours=float(min(life, 8))) for life in lives if life < 8]
    done = [replace(SEEN, kind="released", hours=8.0) for life in lives if life >= 8]
    rate = tracker(*dead, *done).preemptions_per_hour(HERE)
    assert rate == pytest.approx(1 / 5.0, rel=0.35)
    assert tracker(*dead).preemptions_per_hour(HERE) > rate


# --- effective price ------------------------------------------------------------------------------------------


def simulate(
    work: float, rate: float, changeover: float, pause: float, interval: float, rng: np.random.Generator
) -> float:
    """Hours to finish ``work``, machine taken away at random, work since the last checkpoint lost."""
    clock, done, dies = 0.0, 0.0, rng.exponential(1 / rate)
    while done < work - 1e-9:
        step = min(interval, work - done)
        end = clock + step + pause
        if dies >= end:
            clock, done = end, done + step
            continue
        clock = dies  # preempted, then changeovers until one survives
        while True:
            dies = clock + rng.exponential(1 / rate)
            if dies >= clock + changeover:
                clock += changeover
                break
            clock = dies
    return clock


@pytest.mark.parametrize("rate", [0.02, 0.2, 1.0])
def test_overhead_agrees_with_simulation(rate: float) -> None:
    changeover, pause, work = 0.2, 0.02, 20.0
    interval = work / round(work / checkpoint_interval(pause, rate))
    rng = np.random.default_rng(1)
    took = np.mean([simulate(work, rate, changeover, pause, interval, rng) for _ in range(1500)])
    promised = work * (
        1 + expected_overhead(work, rate, changeover_hours=changeover, checkpoint_hours=pause, interval_hours=interval)
    )
    assert took == pytest.approx(promised, rel=0.04)


def test_a_task_without_checkpoints_pays_for_its_whole_length() -> None:
    rng = np.random.default_rng(2)
    took = np.mean([simulate(10.0, 0.05, 0.1, 0.0, 10.0, rng) for _ in range(4000)])
    assert took / 10 - 1 == pytest.approx(
        expected_overhead(10, 0.05, changeover_hours=0.1, checkpoint_hours=None), rel=0.06
    )
    assert expected_overhead(5000, 1.0, changeover_hours=0.1, checkpoint_hours=None) == math.inf


@given(st.floats(0.001, 2), st.floats(0.001, 0.2), st.floats(0, 0.5))
def test_youngs_interval_is_near_the_best(rate: float, pause: float, changeover: float) -> None:
    def overhead(interval: float | None) -> float:
        return expected_overhead(
            1000, rate, changeover_hours=changeover, checkpoint_hours=pause, interval_hours=interval
        )

    best = min(overhead(interval) for interval in np.geomspace(1 / 60, 200, 80))
    assert 1 + overhead(None) <= 1.06 * (1 + best)
    assert expected_overhead(10, 0, changeover_hours=changeover, checkpoint_hours=pause) == 0
