"""Launches come to an end, and go where the job may go: attempts, what fits the job, clouds out of hand."""

from __future__ import annotations

import sys
import time
from collections import Counter

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.driver.lifecycle import take_step
from sky_core.driver.stages.elsewhere import LeftToOthers
from sky_core.driver.stages.owed import Debts
from sky_core.planner.plan import Plan
from tests.sandbox.driving import home_of, small
from tests.sandbox.network.proxies import POUR

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
# What a ProxyCommand does, such as ``ssh -W`` to a bastion.
RELAY = f"""
import os, socket, sys, threading
link = socket.create_connection((sys.argv[1], int(sys.argv[2])))
{POUR}"""


@pytest.fixture
def tidy(world):
    yield world
    world.control.reset()


def test_machines_out_of_reach_are_launched_twice_in_a_place_and_eight_times_in_all(tidy, tmp_path):
    with home_of(tidy, tmp_path, "boot_timeout_s = 0.5", ssh_port=9) as home:
        (job,) = home.drive(home.submit(small()))
        launches = Counter(zone for outcome, zone in home.outcomes(job))
        assert max(launches.values()) == 2
        assert launches.total() == len(tidy.launches(job.id)) == 8
        assert job.state == "failed"
        assert "max_attempts is 8" in job.result["error"]
        assert "security group" in job.result["error"]
        last = {zone: outcome for outcome, zone in home.outcomes(job)}
        silent = {zone for zone, outcome in last.items() if outcome == "unreachable"}
        assert silent, last  # not all of them: where the test is slow, a machine's own switch is faster
        another = home.submit(small(), key="another")
        home.drive(another, stop=lambda: home.store.clusters(job_id=another.id))
        assert home.store.clusters(job_id=another.id)[0].zone not in silent, "others learn of it"
        assert tidy.live() == []


def test_a_task_has_attempts_of_its_own(tidy, tmp_path):
    with home_of(tidy, tmp_path, "boot_timeout_s = 0.5\nmax_attempts = 5", ssh_port=9) as home:
        task = small().model_copy(update={"max_attempts": 3})
        (job,) = home.drive(home.submit(task))
        assert len(tidy.launches(job.id)) == 3
        assert job.state == "failed"


def test_a_job_is_placed_by_its_needs_not_by_its_name(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        home.broker.plan("run", Pipeline(name="p", tasks=(small(name="m"),)))
        task = Task(name="m", run="echo hi", hours=0.1, resources=Resources(accelerators="V100:8"))
        job = home.submit(task, plan="run")
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        placed = home.store.job(job.id).memory["placement"]
        assert (placed["accelerator"], placed["accelerator_count"]) == ("V100", 8)


def test_three_tasks_of_one_name_land_where_each_asked(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        home.broker.plan("run", Pipeline(name="p", tasks=(small(name="m"),)))
        asked = {
            "aws": {"region": "us-west-2", "instance_type": "t3.small"},
            "gcp": {"region": "us-central1", "instance_type": "e2-standard-2"},
            "azure": {"region": "eastus", "instance_type": "Standard_B2s"},
        }
        jobs = {
            cloud: home.submit(small("m", cloud=cloud, **place), key=cloud, plan="run")
            for cloud, place in asked.items()
        }
        done = home.drive(*jobs.values())
        assert [job.state for job in done] == ["succeeded"] * 3
        for cloud, job in jobs.items():
            (cluster,) = home.store.clusters(job_id=job.id)
            assert (cluster.cloud, cluster.region) == (cloud, asked[cloud]["region"])


def test_a_launch_that_fails_after_all_is_a_refusal_and_no_preemption(tidy, tmp_path):
    tidy.control.fault("aws", "boot", "error", code="Client.VolumeLimitExceeded")
    with home_of(tidy, tmp_path) as home:
        task = small(cloud="aws", region=["us-east-1", "us-west-2"], instance_type="t3.small", use_spot=True)
        (job,) = home.drive(home.submit(task))
        assert [outcome for outcome, _ in home.outcomes(job)] == ["quota", "succeeded"]
        assert {seen.kind for seen in home.store.observations(0)} == {"launched", "quota", "released"}


def test_a_new_account_is_told_that_it_has_no_quota_in_a_few_steps(tidy, tmp_path):
    tidy.control.account("new")
    with home_of(tidy, tmp_path) as home:
        (job,) = home.drive(home.submit(small(cloud=["aws", "gcp", "azure"], accelerators="T4")))
        assert job.state == "failed"
        assert len(job.result["error"]) < 1500, "of the regions a few are named"
        assert "is 0 (ask for it: https://" in job.result["error"]
        assert [outcome for outcome, _ in home.outcomes(job)] == ["quota"] * 3, "once for each cloud"
        assert not tidy.launches(job.id)


def test_machines_without_public_addresses_are_called_by_their_private_ones_if_that_is_said(tidy, tmp_path):
    tidy.control.account(public_addresses=False)
    (tmp_path / "told").mkdir()
    (tmp_path / "relay.py").write_text(RELAY)
    network = {"public_addresses": False, "proxy_command": f"{sys.executable} {tmp_path / 'relay.py'} %h %p"}
    with home_of(tidy, tmp_path / "told", network=network) as home:
        (job,) = home.drive(home.submit(small()))
        assert job.state == "succeeded"
    (tmp_path / "untold").mkdir()
    with home_of(tidy, tmp_path / "untold", "max_attempts = 1") as home:
        (job,) = home.drive(home.submit(small()))
        assert job.state == "failed"
        assert "no public address (set public_addresses = false in [clouds.aws.network]" in job.result["error"]


def test_an_image_that_only_one_job_asks_for_is_that_jobs_affair(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        regions = ["us-east-1", "us-west-2"]
        (job,) = home.drive(
            home.submit(
                small(cloud="aws", region=regions, instance_type=["t3.small", "t3.medium"], image="ami-00000000")
            )
        )
        assert job.state == "failed"
        assert "InvalidAMIID.NotFound" in job.result["error"]
        assert len(home.outcomes(job)) == 2, "once in each region, whatever types there are"
        assert not home.store.observations(0), "others have images of their own"


def test_a_failover_stays_in_the_clouds_that_the_submitter_allowed(tidy, tmp_path):
    with home_of(tidy, tmp_path, environ={"SKYLOOM_CLOUDS": "gcp"}) as home:
        kinds, regions = ["e2-standard-2", "n2-standard-2", "t3.small"], ["us-central1", "us-east-1"]
        task = small(cloud=["gcp", "aws"], region=regions, instance_type=kinds)
        first = home.broker.plan("run", Pipeline(name="p", tasks=(task,))).placements["work"]
        for zone in "abcf":
            tidy.control.capacity(f"us-central1-{zone}", first.instance_type, "on-demand", 0)
        everything = home.settings.model_copy(
            update={"clouds": {k: c.model_copy(update={"enabled": True}) for k, c in home.settings.clouds.items()}}
        )
        (job,) = home.drive(home.submit(task), driving=home.new_driving(everything))
        assert job.state == "succeeded"
        clusters = home.store.clusters(job_id=job.id)
        assert {cluster.cloud for cluster in clusters} == {"gcp"}
        assert clusters[0].instance_type == first.instance_type
        assert clusters[-1].instance_type != first.instance_type


def test_needs_that_nobody_sells_are_refused_by_the_field(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        home.broker.plan("run", Pipeline(name="p", tasks=(small(name="m"),)))
        job = home.submit(small(name="m", memory="99999+"), plan="run")
        (job,) = home.drive(job)
        assert job.state == "failed"
        assert "memory" in job.result["error"]
        assert home.store.clusters(job_id=job.id) == []


def test_a_cloud_that_cannot_be_connected_is_left_out_or_ends_the_job(tidy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sky_core.clouds.azure.provider", None)  # as without its SDK
    with home_of(tidy, tmp_path) as home:
        (job,) = home.drive(home.submit(small(cloud="azure", region="eastus", instance_type="Standard_B2s")))
        assert job.state == "failed"
        assert "pip install 'skyloom[azure]'" in job.result["error"]
        kinds = ["Standard_B2s", "p3.16xlarge"]
        either = small(cloud=["azure", "aws"], region=["eastus", "us-east-1"], instance_type=kinds)
        (job,) = home.drive(home.submit(either, key="either"))
        assert job.state == "succeeded"
        assert [outcome for outcome, _ in home.outcomes(job)] == ["not connected", "succeeded"]


def test_a_job_cancelled_on_a_cloud_that_cannot_be_connected_is_over(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(small())
        home.drive(job, stop=lambda: home.store.clusters(job_id=job.id))
        gone = home.settings.model_copy(update={"clouds": {}})
        home.store.request_cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving(gone))
        assert job.state == "cancelled"


def test_a_host_without_a_clouds_credentials_leaves_its_jobs_alone(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(small(run="sleep 600"))
        poor = home.new_driving(without(home.settings, "aws"))
        left_alone(home, poor, job)
        assert home.store.clusters(job_id=job.id) == []
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        left_alone(home, poor, job)
        assert [event.data["clouds"] for event in told_of(home, job)] == [["aws"]] * 2, "once an attempt"
        assert Debts(poor).settle() == 0
        home.store.request_cancel(job.id, "enough")
        left_alone(home, poor, job)
        (job,) = home.drive(job)
        assert job.state == "cancelled"
        assert len(tidy.launches(job.id)) == 1


def test_a_job_that_nobody_else_takes_goes_on_with_what_its_host_has(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        either = {"cloud": ["aws", "gcp"], "region": ["us-east-1", "us-central1"], "cpus": "2+"}
        job = home.submit(small(**either))
        planned = Plan.model_validate_json(home.store.plan("run").plan).placements["work"].cloud
        poor = home.new_driving(without(home.settings, planned).model_copy(update={"orphan_ttl_s": 1.0}))
        left_alone(home, poor, job)
        time.sleep(1.1)
        (job,) = home.drive(job, driving=poor)
        assert job.state == "succeeded"
        assert {cluster.cloud for cluster in home.store.clusters(job_id=job.id)} == {"aws", "gcp"} - {planned}


def without(settings, cloud):
    """The settings of a host that has nothing to log in to that cloud with."""
    clouds = {name: config for name, config in settings.clouds.items() if name != cloud}
    return settings.model_copy(update={"clouds": clouds})


def left_alone(home, driving, job):
    """Assert that the job, taken by that driver, is left to others at once."""
    (due,) = home.store.lease_due(driving.holder, 60.0, 10)
    assert due.id == job.id
    with pytest.raises(LeftToOthers):
        take_step(driving, due)
    assert home.store.lease_due(driving.holder, 60.0, 10, without=[job.id]) == []
    home.store.release_lease(job.id, driving.holder)


def told_of(home, job):
    return [event for event in home.store.events(job.id) if event.kind == "cloud missing"]


def test_what_a_cloud_takes_for_no_request_is_not_called_a_lack_of_capacity(tidy, tmp_path):
    why = "Value (x) for parameter groupId is invalid."
    tidy.control.fault("aws", "RunInstances", "error", code="InvalidParameterValue", message=why, times=99)
    with home_of(tidy, tmp_path) as home:
        (job,) = home.drive(home.submit(small()))
        headline, *attempts = job.result["error"].splitlines()
        assert "invalid request in us-east-1" in headline
        assert "capacity" not in headline
        assert attempts
        assert all(why in attempt for attempt in attempts if ". " in attempt)
        assert {seen.kind for seen in home.store.observations(0)} == {"invalid"}
