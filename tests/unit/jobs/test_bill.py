"""Machines are billed from and to the times that their cloud has on record, whatever our clock did meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sky_core.clouds.base import Instance
from sky_core.driver.stages.reaching import end_on_record
from sky_core.job.bill import cluster_hours, cluster_usd, idle_usd, lifetime, on_record, sharpened
from sky_core.job.cost.charges import Owed, _of_launch
from sky_core.measures.scale import Scale
from sky_core.store import Cluster
from sky_core.store.reading.listing import Paid

HOUR = 3600.0
CLUSTER = Cluster(
    token="t1", job_id="j", attempt=1, state="ended", cloud="aws", region="r", zone="z1", instance_type="m",
    use_spot=False, num_nodes=2, price=1, host_key="", intended_at=0, launched_at=100.0, ended_at=100.0 + 10 * HOUR,
)  # fmt: skip


def test_the_clouds_times_come_before_those_of_a_driver_that_was_away():
    assert lifetime(CLUSTER, Scale()) == pytest.approx(10)
    known = replace(CLUSTER, started_at=90.0, stopped_at=90.0 + HOUR)
    assert lifetime(known, Scale()) == pytest.approx(1)
    assert cluster_hours(known, Scale()) == pytest.approx(2), "for each of its machines"


def test_machines_found_by_tag_are_billed_though_their_launch_was_never_confirmed():
    found = replace(CLUSTER, launched_at=None, started_at=100.0, stopped_at=100.0 + HOUR)
    assert lifetime(found, Scale()) == pytest.approx(1)
    assert lifetime(replace(CLUSTER, launched_at=None), Scale()) == 0


def test_a_clock_that_steps_back_makes_no_bill_negative():
    assert lifetime(replace(CLUSTER, ended_at=40.0), Scale()) == 0
    assert lifetime(replace(CLUSTER, ended_at=None), Scale(), now=40.0) == 0


def test_a_machine_of_seconds_costs_its_clouds_minimum() -> None:
    short = replace(CLUSTER, started_at=90.0, stopped_at=100.0)
    assert cluster_hours(short, Scale()) * HOUR == pytest.approx(2 * 60)
    assert cluster_hours(replace(short, cloud="azure"), Scale()) * HOUR == pytest.approx(2 * 10)
    assert cluster_hours(replace(short, launched_at=None, started_at=None), Scale()) == 0


def test_what_was_before_a_day_began_is_not_of_that_day():
    assert lifetime(CLUSTER, Scale(), since=100.0 + 9 * HOUR) == pytest.approx(1)
    assert lifetime(CLUSTER, Scale(), since=100.0 + 11 * HOUR) == 0


def test_a_gang_s_bill_is_the_sum_of_its_machines_though_one_came_later():
    assert on_record([100.5, None, 100.5, 107.5], 100.0) == (100.5 + 100.5 + 107.5) / 3
    assert on_record([100.0, 100.0], 100.25) == 100.25
    assert on_record([None], 100.0) is None


def test_nor_is_one_billed_longer_that_died_before_the_others():
    one = Instance("a", "aws", "us-east-1", None, "m5.large", use_spot=False, state="gone", ended_at=100.5)
    assert end_on_record([one, replace(one, id="b", ended_at=110.5)], 0.0) == 105.5
    assert end_on_record([one, replace(one, id="b", ended_at=None)], 0.0) is None
    assert end_on_record([], 0.0) is None


def test_whole_seconds_are_sharpened_by_the_time_of_our_own_call():
    assert sharpened(10.25, 10.5) == 10.25
    assert sharpened(10.0, 10.75) == 10.75
    assert sharpened(10.0, 12.0) == sharpened(10.0, 8.0) == 10.5


RESERVED = replace(
    CLUSTER, price=0.0, reservation="cr-1", reserved_until=100.0 + 4 * HOUR, price_after=3.0
)  # two machines for ten hours, six of them at the price on demand


def test_a_machine_that_outlives_its_reservation_costs_the_price_on_demand_from_then_on() -> None:
    assert cluster_usd(RESERVED, Scale()) == pytest.approx(2 * 6 * 3)
    assert cluster_usd(replace(RESERVED, price=1.0), Scale()) == pytest.approx(2 * (4 * 1 + 6 * 3))
    assert cluster_usd(RESERVED, Scale(), since=100.0 + 8 * HOUR) == pytest.approx(2 * 2 * 3)
    going = replace(RESERVED, state="launched", ended_at=None)
    assert cluster_usd(going, Scale(), 100.0 + 3 * HOUR) == 0
    assert [going.usd_per_hour(100.0 + hours * HOUR) for hours in (3, 5)] == [0, 6]
    kept = replace(going, state="kept", kept_at=100.0 + 3 * HOUR, kept_until=100.0 + 9 * HOUR)
    assert idle_usd(kept, Scale(), 100.0 + 6 * HOUR) == pytest.approx(2 * 2 * 3)
    assert cluster_usd(replace(RESERVED, price_after=None), Scale()) == 0, "nobody knows what it costs"


def test_each_day_is_charged_at_the_price_that_it_had() -> None:
    one = Paid("j", "aws", "r", "m", False, 2, 0.0, False, 18 * HOUR, 30 * HOUR, 0.0, None, False, None, True,
               22 * HOUR, 3.0)  # fmt: skip
    found = _of_launch(Owed("p", "run", "t", "j", "?", {}), one, Scale(), 99 * HOUR)
    told = [(charge.day, charge.market, charge.hours, charge.compute_usd) for charge in found]
    assert told == [
        ("1970-01-01", "reserved", 8.0, 0.0),
        ("1970-01-01", "on-demand", 4.0, 12.0),
        ("1970-01-02", "on-demand", 12.0, 36.0),
    ]
    kept = _of_launch(Owed("p", "run", "t", "j", "?", {}), one._replace(idle_since=26 * HOUR), Scale(), 99 * HOUR)
    assert sum(charge.compute_usd for charge in kept) == 48
    assert sum(charge.hours for charge in kept if charge.idle) == 8
