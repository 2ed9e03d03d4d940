"""What may be spent is a hard limit of each launch: per job, run and day, and among drivers."""

from __future__ import annotations

import pytest

from sky_core.config import Granted
from sky_core.driver.lifecycle import advance, take_step, write
from sky_core.driver.step import Step
from tests.conftest import until
from tests.sandbox.driving import home_of, small

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.003}  # slow enough for what is under way to cost little on a slow machine
USD = 0.0208 * 0.15  # t3.small in us-east-1, for the tenth of an hour that the task takes, and its boot


@pytest.fixture
def tidy(world):
    yield world
    world.control.reset()


def test_a_launch_above_the_limit_of_a_job_is_not_made(tidy, tmp_path):
    with home_of(tidy, tmp_path, f"[limits]\nusd_per_job = {0.9 * USD}") as home:
        (job,) = home.drive(home.submit(small()))
        assert job.state == "failed"
        assert tidy.launches(job.id) == []
        assert "estimated at $0.0031 is not made: $0.00 of $0.0028 are spent" in job.result["error"]
        assert "usd_per_job" in job.result["error"]
        assert str(tmp_path / "config.toml") in job.result["error"]


def test_a_task_has_a_budget_of_its_own_which_its_attempts_share(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        task = small(run="sleep 600").model_copy(update={"budget_usd": 1.05 * USD})
        job = home.submit(task)
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("running_since"))
        spent = home.broker.bill("run").usd
        until(lambda: home.broker.bill("run").usd > max(spent, 0.1 * USD))
        assert not home.store.job(job.id).over, "a running job is left alone"
        home.driving.clouds["aws"].terminate(home.store.clusters(job_id=job.id)[0].instance_ids)
        (job,) = home.drive(job)
        assert job.state == "failed"
        assert "budget_usd of Task.work" in job.result["error"]
        assert len(tidy.launches(job.id)) == 1


def test_a_run_and_a_day_count_what_others_have_been_promised(tidy, tmp_path):
    with home_of(tidy, tmp_path, f"[limits]\nusd_per_day = {1.5 * USD}") as home:
        first = home.submit(small(run="sleep 600"))
        home.drive(first, stop=lambda: home.store.job(first.id).state == "running")
        (second,) = home.drive(home.submit(small(), key="other"))
        assert second.state == "failed"
        assert "usd_per_day" in second.result["error"]
        home.store.request_cancel(first.id, "enough")
        home.drive(first)
        (third,) = home.drive(home.submit(small(), key="later"))
        assert third.state == "succeeded", "what was promised to the first is free again"


def test_of_two_drivers_that_launch_at_the_same_time_one_is_held_back(tidy, tmp_path):
    with home_of(tidy, tmp_path, f"[limits]\nusd_per_day = {1.5 * USD}") as home:
        jobs = [home.submit(small(), key=key) for key in ("a", "b")]
        drivings = [home.new_driving(), home.new_driving()]
        driven = [(driving, *home.store.lease_due(driving.holder, 600.0, 1)) for driving in drivings]
        steps = [Step.load(driving, leased) for driving, leased in driven]
        for step, intent in [(step, advance(step)) for step in steps]:  # decided before either is written
            assert intent.attempt == 1
            write(step, intent)
        for driving, leased in reversed(driven):
            take_step(driving, home.store.job(leased.id))
        made = [tidy.launches(job.id) for job in jobs]
        assert sorted(map(len, made)) == [0, 1]


def test_whoever_submits_may_have_limits_of_his_own_that_go_with_the_job(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        granted = Granted(usd_per_job=0.9 * USD, by="connection team")
        home.settings = home.settings.model_copy(update={"granted": granted})  # the submitter's, not the driver's
        (job,) = home.drive(home.submit(small()))
        assert job.state == "failed"
        assert tidy.launches(job.id) == []
        assert "usd_per_job, connection team" in job.result["error"]
