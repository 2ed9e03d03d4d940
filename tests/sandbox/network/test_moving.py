"""Whoever drives a job may be seen at another address any time: the firewall follows, and lets in nobody else."""

from __future__ import annotations

import time

from sky_core.clouds import connect
from tests.sandbox.driving import home_of, small

SANDBOX = {"hours_per_second": 0.1}
EACH_S = 25.0  # seconds at an address; a connection is given up after ten
PLACES = {
    "aws": {"region": "us-east-1", "instance_type": "t3.small"},
    "gcp": {"region": "us-central1", "instance_type": "e2-standard-2"},
    "azure": {"region": "eastus", "instance_type": "Standard_B2s"},
}


def let_in(home):
    groups = connect("aws", home.settings)._session.client("ec2", "us-east-1").describe_security_groups()
    rules = [rule for group in groups["SecurityGroups"] for rule in group["IpPermissions"]]
    return {source["CidrIp"] for rule in rules for source in rule["IpRanges"]}


def test_a_driver_that_moves_twice_loses_no_job(world, tmp_path):
    with home_of(world, tmp_path) as home:
        world.control.move("198.51.100.1")
        jobs = {
            cloud: home.submit(small(cloud, run="sleep 10; echo hi", cloud=cloud, **place), key=cloud)
            for cloud, place in PLACES.items()
        }
        home.drive(*jobs.values(), stop=lambda: all(home.store.job(j.id).state == "running" for j in jobs.values()))
        world.control.move("203.0.113.9")
        done = home.drive(*jobs.values())
        assert [job.state for job in done] == ["succeeded"] * 3, [job.result for job in done]
        assert [len(world.launches(job.id)) for job in done] == [1, 1, 1]
        assert let_in(home) == {"203.0.113.9/32"}, "where it was before is closed"
        world.control.move("")


def test_one_that_moves_all_the_time_loses_none_either(world, tmp_path):
    with home_of(world, tmp_path) as home:
        world.control.move("198.51.100.1")
        job = home.submit(small(run=f"sleep {3 * EACH_S:.0f}; echo hi"))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        for number in range(3):
            world.control.move(f"203.0.113.{number}")
            ends = time.monotonic() + EACH_S
            home.drive(job, stop=lambda: time.monotonic() > ends)  # noqa: B023 - asked at once
        world.control.move("192.0.2.1")
        [done] = home.drive(job)
        world.control.move("")
        assert done.state == "succeeded", done.result
        assert len(world.launches(job.id)) == 1


def test_one_behind_a_pool_of_addresses_loses_none(world, tmp_path):
    with home_of(world, tmp_path) as home:
        pool = [f"198.51.100.{number}" for number in range(1, 5)]
        world.control.move(*pool)
        jobs = {
            cloud: home.submit(small(cloud, run="sleep 10; echo hi", cloud=cloud, **place), key=cloud)
            for cloud, place in PLACES.items()
        }
        done = home.drive(*jobs.values())
        assert [job.state for job in done] == ["succeeded"] * 3, [job.result for job in done]
        assert [len(world.launches(job.id)) for job in done] == [1, 1, 1]
        assert len(let_in(home) & {f"{address}/32" for address in pool}) > 1, "not the one of the last look only"
        world.control.move("")
