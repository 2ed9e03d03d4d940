"""Machines that are kept when their job is over: taken once, ended in time, left to nobody."""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr

from sky_core.driver.sweep import collect
from sky_core.driver.warm import parking
from sky_core.driver.warm.keeper import Keeper, note_gone
from sky_core.events import Kept, NotKept, NotTaken, Taken
from sky_core.job.cost.charges import charges
from sky_core.job.cost.groups import total
from sky_core.store import records
from tests.conftest import until
from tests.sandbox.driving import home_of, small

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.01}  # an hour of keeping is 100 s
LONG = 10.0
LEAVES = "mkdir -p ~/x && touch ~/x/own && echo $TOKEN > left && mkdir -p $HOME/tools && echo warm > $HOME/tools/here"
LOOKS = """
cat ~/tools/here
ls ~/.skyloom ~/.skyloom/jobs
ps -eo args
if grep -rsl 'ti[g]er' ~/.skyloom || grep -lsz 'ti[g]er' /proc/[0-9]*/environ; then exit 1; fi
"""


@pytest.fixture
def tidy(world):
    yield world
    world.control.reset()


def warm(name="work", run="echo hello", keep=LONG, cluster="dev", **resources):
    """A task that leaves its machines warm."""
    return small(name, run, **resources).model_copy(update={"keep": keep, "cluster": cluster})


def told(home, job, kind):
    """The job's events of a kind."""
    return [event.what for event in home.store.events(job.id) if isinstance(event.what, kind)]


def run(home, task, key):
    """A job driven to its end."""
    (job,) = home.drive(home.submit(task, key=key))
    return job


def ended(home, keeper=None):
    """Whether nothing is kept any more, after one more look."""
    return (keeper or Keeper(home.driving)).turn() == 0


def ours(world, *jobs):
    """The machines that the clouds say were started for these jobs."""
    return [token for job in jobs for token in world.launches(job.id)]


def test_the_next_job_runs_on_the_machine_of_the_last_one_and_sees_nothing_of_it(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        task = warm(run=LEAVES).model_copy(
            update={"secrets": ("TOKEN",), "secret_values": {"TOKEN": SecretStr("tiger")}}
        )
        first = run(home, task, "first")
        (kept,) = home.store.kept()
        assert (first.state, kept.kept_as, len(tidy.live())) == ("succeeded", "dev", 1)
        assert told(home, first, Kept)[0].usd_per_hour == pytest.approx(kept.price)
        second = run(home, warm("other", run=LOOKS, keep=None), "second")
        log = home.store.log(second.id).decode()
        assert second.state == "succeeded", log
        assert "warm" in log
        assert "workdirs" not in log
        assert first.id not in log, "no file, and no process"
        assert ours(tidy, first, second) == [kept.token], "nothing was launched for the second one"
        assert told(home, second, Taken)[0].job == first.id
        assert until(lambda: not tidy.live()), "a job that keeps nothing ends what it has taken"
        (theirs,), (own,) = (home.store.clusters(job_id=job.id) for job in (first, second))
        assert (theirs.outcome, own.outcome, own.launched_as) == ("taken", "succeeded", kept.token)
        assert theirs.stopped_at == pytest.approx(own.started_at)


def test_the_bill_has_the_idle_time_and_comes_to_what_the_cloud_charges(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        first = run(home, warm(), "first")
        time.sleep(2.0)
        second = run(home, warm("other", keep=None), "second")
        until(lambda: not tidy.live())
        (machine,) = [
            entry for entry in tidy.control.ledger()
            if entry["kind"] == "machine" and entry["tags"].get("skyloom-job") == first.id
        ]  # fmt: skip
        spent = total([c for c in charges(home.store, home.settings.scale) if c.job in (first.id, second.id)])
        # EC2 tells of a start and of an end in whole seconds: half of one may be missed at either.
        a_second = home.settings.scale.hours(1.0) * 3600
        assert spent.hours * 3600 == pytest.approx(machine["billed_s"], abs=a_second)
        (price,) = {cluster.price for cluster in home.store.clusters()}
        assert spent.idle_usd / price * 100 >= 2.0, "seconds of the sandbox"
        assert spent.idle_usd < spent.compute_usd


def test_a_job_that_failed_keeps_its_machine_and_one_that_was_cancelled_does_not(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        failed = run(home, warm(run="exit 3"), "failed")
        assert (failed.state, failed.result["exit_code"], len(home.store.kept())) == ("failed", 3, 1)
        job = home.submit(warm(run="sleep 100"), key="cancelled")
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        home.store.request_cancel(job.id, "a test")
        home.drive(job)
        assert told(home, job, Taken)
        assert not home.store.kept()
        assert until(lambda: not tidy.live())


def test_of_two_jobs_at_once_one_takes_it_and_the_other_launches(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        first = run(home, warm(), "first")
        jobs = [home.submit(warm(keep=None), key=f"next-{number}") for number in range(2)]
        home.drive(*jobs)
        one, other = sorted(jobs, key=lambda job: len(told(home, job, Taken)), reverse=True)
        assert [len(told(home, job, Taken)) for job in (one, other)] == [1, 0]
        assert [event.why for event in told(home, other, NotTaken)] == [f"{one.id} has taken it"]
        assert len(ours(tidy, first, *jobs)) == 2
        assert until(lambda: not tidy.live())


def test_its_end_comes_in_time_and_only_then(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        first = run(home, warm(keep=0.04), "first")  # 4 s
        (kept,) = home.store.kept()
        keeper = Keeper(home.driving)
        assert keeper.turn() == 1
        assert collect(home.settings, home.store, terminate=True).kept[0][1] == "dev", "no sweep ends it early"
        assert len(tidy.live()) == 1
        until(lambda: ended(home, keeper))
        assert home.store.now() >= kept.kept_until
        assert tidy.live() == []
        assert home.outcomes(first)[0][0] == "idle"
        assert home.store.owed_launches() == []
        again = run(home, warm(keep=None), "again")
        assert not told(home, again, Taken)


def test_somebody_ends_it_sooner(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        run(home, warm(), "first")
        assert len(home.store.keep_no_longer("dev", "sandbox")) == 1
        until(lambda: ended(home))
        assert tidy.live() == []


def test_a_driver_that_never_comes_back_leaves_no_machine(tidy, tmp_path, monkeypatch):
    monkeypatch.setattr(parking, "MARGIN_S", 1.0)
    with home_of(tidy, tmp_path) as home:
        first = run(home, warm(keep=0.03), "first")
        assert len(tidy.live()) == 1
        until(lambda: not tidy.live())
        (kept,) = home.store.clusters(job_id=first.id)
        assert kept.state == "kept", "nobody has looked"
        assert note_gone(home.driving.clouds, home.store, home.settings) == [], "its machine may stay that long"
        monkeypatch.setattr(records, "KEPT_MARGIN_S", 1.0)
        until(lambda: note_gone(home.driving.clouds, home.store, home.settings))
        assert until(lambda: ended(home))
        (cluster,) = home.store.clusters(job_id=first.id)
        assert (cluster.state, cluster.outcome) == ("ended", "idle")
        assert cluster.stopped_at - cluster.kept_at < 10.0


def test_one_that_is_taken_back_meanwhile_is_a_loss_like_any(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        first = run(home, warm(use_spot=True), "first")
        tidy.control.preempt(tags={"skyloom-cluster": home.store.kept()[0].token}, notice_s=0)
        until(lambda: not tidy.live())
        second = run(home, warm(use_spot=True, keep=None), "second")
        assert second.state == "succeeded"
        assert told(home, second, Taken)
        assert [outcome for outcome, _ in home.outcomes(second)] == ["preempted", "succeeded"]
        third = run(home, warm(use_spot=True), "third")
        tidy.control.preempt(tags={"skyloom-cluster": home.store.kept()[0].token}, notice_s=0)
        until(lambda: not tidy.live())
        assert until(lambda: ended(home)), "who looks after it finds out"
        assert [home.outcomes(job)[0][0] for job in (first, third)] == ["taken", "preempted"]


@pytest.mark.parametrize(
    ("needs", "field"),
    [
        ({"instance_type": "t3.medium", "cloud": "aws", "region": "us-east-1"}, "instance_type"),
        ({"disk_size": 100}, "disk_size"),
        ({"ports": (8080,)}, "ports"),
        ({"tags": {"team": "a"}}, "tags"),
    ],
)
def test_a_machine_that_does_not_do_is_left_and_it_is_said_why(tidy, tmp_path, needs, field):
    with home_of(tidy, tmp_path) as home:
        run(home, warm(), "first")
        second = run(home, warm("other", keep=None, **needs), "second")
        assert second.state == "succeeded"
        assert not told(home, second, Taken)
        (why,) = told(home, second, NotTaken)
        assert field in why.words()
        assert len(home.store.kept()) == 1


def test_a_gang_is_kept_and_taken_whole(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        gang = warm(run="echo rank $SKY_NODE_RANK").model_copy(update={"num_nodes": 2})
        first = run(home, gang, "first")
        alone = run(home, warm("alone", keep=None), "alone")
        assert "num_nodes" in told(home, alone, NotTaken)[0].why
        second = run(home, gang.model_copy(update={"keep": None}), "second")
        assert (second.state, len(told(home, second, Taken))) == ("succeeded", 1)
        assert len(ours(tidy, first, second)) == 2
        assert until(lambda: not tidy.live())


def test_one_machine_serves_a_whole_row_of_jobs(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        jobs = [run(home, warm(f"t{number}"), f"run-{number}") for number in range(3)]
        (kept,) = home.store.kept()
        assert ours(tidy, *jobs) == [kept.launched_as]
        assert collect(home.settings, home.store, terminate=True).orphans == (), "by the tag of the first of them"
        assert [home.outcomes(job)[0][0] for job in jobs] == ["taken", "taken", ""]
        assert home.store.owed_launches() == []
        home.store.keep_no_longer("dev", "sandbox")
        until(lambda: ended(home))
        assert tidy.live() == []


class Killed(BaseException):
    """Ends a driver in the middle of a test."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_killed_around_the_order_to_stay_is_followed_by_one_that_gives_it_again(
    tidy, tmp_path, monkeypatch, when
):
    with home_of(tidy, tmp_path) as home:
        job = home.submit(warm())
        executor = home.driving.executors["aws"]
        keep = executor.keep

        def die(*given):
            if when == "after":
                keep(*given)
            raise Killed

        monkeypatch.setattr(executor, "keep", die)
        with pytest.raises(Killed):
            home.drive(job)
        (cluster,) = home.store.clusters(job_id=job.id)
        assert (cluster.state, cluster.kept_as) == ("launched", "dev")
        home.store.release_leases(home.driving.holder)
        home.drive(job, driving=home.new_driving())
        (kept,) = home.store.kept()
        assert kept.kept_until == cluster.kept_until, "as it was written down"
        assert ours(tidy, job) == [kept.token]
        home.store.keep_no_longer("dev", "sandbox")
        until(lambda: ended(home))
        assert tidy.live() == []


def test_a_driver_killed_when_it_ends_it_is_followed_by_any_other(tidy, tmp_path, monkeypatch):
    with home_of(tidy, tmp_path) as home:
        run(home, warm(), "first")
        (kept,) = home.store.keep_no_longer("dev", "sandbox")
        ordered = home.store.order_end(kept.token, "idle", time.time())
        assert ordered is not None
        second = home.submit(warm(keep=None), key="second")
        home.drive(second, stop=lambda: home.store.clusters(job_id=second.id))
        assert not told(home, second, Taken), "what is being ended is not to be had"
        until(lambda: ended(home, Keeper(home.new_driving())))
        home.drive(second)
        assert until(lambda: not tidy.live())


def test_a_machine_that_does_not_answer_is_ended_instead(tidy, tmp_path, monkeypatch):
    with home_of(tidy, tmp_path) as home:
        monkeypatch.setattr("sky_core.remote.ssh_executor.KEEP", "exit 1\n{theirs}{program}{command}")
        job = run(home, warm(), "first")
        assert job.state == "succeeded"
        assert told(home, job, NotKept)
        assert until(lambda: not tidy.live())


def test_a_budget_holds_for_idle_machines_too(tidy, tmp_path):
    with home_of(tidy, tmp_path) as home:
        job = run(home, warm(keep=24.0).model_copy(update={"budget_usd": 0.1}), "first")
        assert job.state == "succeeded"
        assert "budget_usd" in told(home, job, NotKept)[0].why
        assert until(lambda: not tidy.live())
