"""Leases fence every write of a driver; waiting goes by the store's own clock; launches and interest are kept."""

import time

import pytest

from sky_core.store import Launch, LeaseLost, Observation, PlanChanged, Run, Store, StoredPlan

SEEN = Observation(1.0, "aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "capacity")
RUN = Run(1.0, "p", "t", "aws", "us-east-1", "p3.2xlarge", "V100", 1.0, True, 1.5, 0.0)
OWED = Launch("sky-1-1", "job-1", "aws", "us-east-1", None, 1.0)


@pytest.fixture
def store(store_url):
    return Store(store_url)


def submit(store, key="k"):
    return store.submit(key, plan_key="p", task="train", spec="{}", owner=None)


def taken_over(store):
    """A job as its first driver read it, after a second one has taken it over."""
    submit(store)
    (held,) = store.lease_due("first", -1, 5)
    (now_held,) = store.lease_due("second", 60, 5)
    assert now_held.lease_epoch == held.lease_epoch + 1
    return held


def test_a_driver_that_lost_its_lease_writes_nothing_at_all(store):
    held = taken_over(store)
    store.create_plan("p", "P", "one")
    told = {"observations": [SEEN], "runs": [RUN], "launches": [OWED], "log": (0, b"x")}
    with pytest.raises(LeaseLost):
        store.save_job(held, "first", state="running", plan=StoredPlan(2, "P", "two"), **told)
    assert not store.renew_lease(held.id, "first", 60)
    assert store.job(held.id).state == "submitted"
    assert (store.observations(), store.runs("p"), store.owed_launches(), store.log(held.id)) == ([], [], [], b"")
    assert store.plan("p").plan == "one"


def test_a_step_from_before_a_gap_in_the_lease_is_refused(store):
    """A thread that hung while another driver had the job, which its own driver has got back since."""
    held = taken_over(store)
    store.release_lease(held.id, "second")
    (again,) = store.lease_due("first", 60, 5)
    with pytest.raises(LeaseLost):
        store.save_job(held, "first", state="running")
    assert store.save_job(again, "first", state="running").state == "running"


def test_a_holder_that_takes_its_own_job_again_goes_on(store):
    submit(store)
    (held,) = store.lease_due("first", -1, 5)
    store.lease_due("first", 60, 5)
    assert store.save_job(held, "first", state="running").state == "running"


def test_a_step_on_a_plan_that_was_replaced_meanwhile_writes_nothing(store):
    job = submit(store)
    store.lease_due("a", 60, 5)
    store.create_plan("p", "P", "one")
    store.save_job(job, "a", plan=StoredPlan(2, "P", "two"))
    with pytest.raises(PlanChanged):
        store.save_job(job, "a", state="running", plan=StoredPlan(2, "P", "another"))
    assert store.job(job.id).state == "submitted"
    assert store.plan_versions("p") == ["one", "two"]


def test_a_step_is_written_with_all_that_it_teaches(store):
    job = submit(store)
    store.lease_due("a", 60, 5)
    store.save_job(job, "a", observations=[SEEN], runs=[RUN], launches=[OWED, OWED])
    assert (store.observations(), store.runs("p"), store.owed_launches(job_id="job-1")) == ([SEEN], [RUN], [OWED])


def test_a_cancel_during_a_step_is_not_slept_through(store):
    job = submit(store)
    (held,) = store.lease_due("a", 60, 5)
    store.request_cancel(job.id, "why")
    saved = store.save_job(held, "a", after_s=3600)
    assert [due.id for due in store.lease_due("a", 60, 5)] == [job.id]
    store.save_job(saved, "a", after_s=3600)
    assert store.lease_due("a", 60, 5) == [], "a step that knows of the cancel says itself when to come back"


@pytest.mark.parametrize("step_s", [-150.0, 3600.0, -1e6])
def test_leases_and_sleep_outlive_a_step_of_the_hosts_clock(store, step_s, monkeypatch):
    sleeper, waker = submit(store, "sleeper"), submit(store, "waker")
    store.lease_due("a", 60, 5)
    store.save_job(sleeper, "a", after_s=30)
    store.save_job(waker, "a", after_s=0.0)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step_s)
    assert store.lease_due("b", 60, 5) == [], "the lease is neither over nor forgotten"
    assert [job.key for job in store.lease_due("a", 60, 5)] == ["waker"], "nobody sleeps longer, or shorter"
    late = submit(store, "after the step")
    assert [job.id for job in store.lease_due("b", 60, 5)] == [late.id]


def test_the_store_goes_on_after_a_reboot(tmp_path, monkeypatch):
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    job = submit(store)
    store.lease_due("a", 60, 5)
    store.save_job(job, "a", after_s=1e6)
    before = store.now()
    monkeypatch.setattr("sky_core.store.database.clock._boot", lambda: "another boot")
    monkeypatch.setattr("sky_core.store.database.clock._since_boot", lambda: 3.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the clock is not set yet
    rebooted = Store(f"sqlite:///{tmp_path / 's.db'}")
    assert rebooted.now() >= before
    assert [due.id for due in rebooted.lease_due("b", 60, 5)] == [job.id], "its driver has not outlived the boot"


def test_a_launch_is_owed_until_it_is_settled(store):
    job = submit(store)
    store.lease_due("a", 60, 5)
    launches = [Launch(f"t{n}", job.id, cloud, "r", None, float(n)) for n, cloud in enumerate(("aws", "gcp"))]
    store.save_job(job, "a", launches=launches)
    assert store.owed_launches() == launches
    assert store.settle_launch("t0", "nothing there")
    assert not store.settle_launch("t0"), "settled once"
    assert store.owed_launches(cloud="gcp") == launches[1:]
    assert store.owed_launches(cloud="aws") == []


def test_interest_is_renewed_and_withdrawn(store):
    job = submit(store)
    store.show_interest(job.id, "flow", {"engine": "prefect", "run": 1})
    store.show_interest(job.id, "person", {})
    store.show_interest(job.id, "flow", {"engine": "prefect", "run": 2})
    found = store.interest_of(job.id)
    assert [(interest.who, interest.how) for interest in found] == [
        ("flow", {"engine": "prefect", "run": 2}),
        ("person", {}),
    ]
    assert 0 <= store.now() - found[0].seen_at < 60
    store.withdraw_interest(job.id, "flow")
    assert [interest.who for interest in store.interest_of(job.id)] == ["person"]
