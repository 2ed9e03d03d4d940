"""The store keeps its promises: idempotent creates, exclusive leases, fenced writes, logs once and in order."""

import random
import string
import threading

import pytest

from sky_core.errors import SpecError, TooLarge
from sky_core.events import Lost
from sky_core.store import LeaseLost, Observation, Store, StoredPlan
from sky_core.store.database.transactions import LONGEST


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def store(store_url, clock):
    store = Store(store_url, clock=lambda: clock[0])
    yield store
    store.close()


def submit(store, key="k", owner=None):
    return store.submit(key, plan_key="p", task="train", spec="{}", owner=owner)


def test_submit_is_idempotent_and_moves_the_owner(store):
    first = submit(store, owner="try-1")
    second = submit(store, owner="try-2")
    assert first.id == second.id
    assert second.owner == "try-2"
    assert [event.kind for event in store.events(first.id)] == ["submitted"]


def test_cancel_is_fenced_by_owner(store):
    job = submit(store, owner="try-2")
    assert not store.request_cancel(job.id, "killed", owner="try-1")
    assert store.request_cancel(job.id, "killed", owner="try-2")
    assert not store.request_cancel(job.id, "killed", owner="try-2"), "asked once only"
    assert store.job(job.id).cancel_reason == "killed"


def test_first_plan_wins(store):
    assert store.create_plan("run", "P1", "first") == StoredPlan(1, "P1", "first")
    assert store.create_plan("run", "P2", "second") == StoredPlan(1, "P1", "first")
    assert store.replace_plan("run", 1, "P1", "third")
    assert not store.replace_plan("run", 1, "P1", "fourth")
    assert store.plan("run") == StoredPlan(2, "P1", "third")
    assert store.plan_versions("run") == ["first", "third"]


def test_a_lease_is_exclusive_until_it_expires(store, clock):
    job = submit(store)
    assert [j.id for j in store.lease_due("a", 10, 5)] == [job.id]
    assert store.lease_due("b", 10, 5) == []
    clock[0] += 11
    (taken,) = store.lease_due("b", 10, 5)
    with pytest.raises(LeaseLost):
        store.save_job(job, "a", state="running", events=[Lost(attempt=1, detail="")])
    assert "lost" not in [event.kind for event in store.events(job.id)]
    assert store.save_job(taken, "b", state="running", memory={"x": 1}).memory == {"x": 1}


def test_a_job_sleeps_until_its_time_and_is_done_when_over(store, clock):
    job = submit(store)
    store.lease_due("a", 10, 5)
    store.save_job(job, "a", after_s=5)
    assert store.lease_due("a", 10, 5) == []
    clock[0] += 6
    assert store.lease_due("a", 10, 5)
    assert store.save_job(job, "a", state="failed", result={"exit_code": 3}).over
    assert store.lease_due("a", 10, 5) == []
    assert store.jobs(live=True) == []


def test_logs_are_kept_once_and_read_by_offset(store):
    job = submit(store)
    store.lease_due("a", 10, 5)
    for offset, data in ((0, b"hello "), (6, b"world"), (6, b"world")):
        store.save_job(job, "a", log=(offset, data))
    assert store.log(job.id) == b"hello world"
    assert store.log(job.id, 3) == b"lo world"
    assert store.log(job.id, 11) == b""


def test_only_one_of_many_threads_creates_and_leases(store_url):
    taken, errors = [], []

    def contend(name):
        try:
            mine = Store(store_url)
            for number in range(5):
                mine.submit(f"k{number}", plan_key="p", task="t", spec="{}", owner=None)
            taken.extend(job.id for job in mine.lease_due(name, 60, 100))
            mine.close()
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=contend, args=(f"d{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(taken) == len(set(taken)) == 5


def test_observations_come_back_in_order(store):
    for at in (3.0, 1.0, 2.0):
        store.observe(Observation(at, "aws", "us-east-1", "us-east-1a", "p3.2xlarge", "spot", "capacity"))
    assert [o.at for o in store.observations(since=2.0)] == [2.0, 3.0]


def test_the_database_file_is_private(tmp_path):
    Store(f"sqlite:///{tmp_path / 'x' / 's.db'}").close()
    assert (tmp_path / "x" / "s.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("names", "word"),
    [({"key": "a\0b"}, "key: .*NUL"), ({"owner": "\0"}, "owner: .*NUL"), ({"task": "é" * 300}, "task: .*500 bytes"),
     ({"plan_key": "x" * 2001}, "plan key: .*2000 bytes"), ({"key": "x" * 2001}, "^key: .*2000 bytes")],
)  # fmt: skip
def test_names_that_one_database_cannot_hold_are_refused_by_both(store, names, word):
    with pytest.raises(SpecError, match=word):
        store.submit(**{"key": "k", "plan_key": "p", "task": "t", "spec": "{}", "owner": None, **names})
    assert store.jobs() == []


def test_the_longest_names_fit(store):
    rng = random.Random(1)
    incompressible = {name: "".join(rng.choices(string.printable, k=size)) for name, size in LONGEST.items()}
    job = store.submit(**incompressible, spec="{}", owner=incompressible["key"])
    store.create_plan(incompressible["plan_key"], "P", "p")
    assert store.job(job.id).owner == incompressible["key"]
    assert store.plan_keys() == [incompressible["plan_key"]]


def test_plan_keys_are_found_by_their_beginning(store):
    for key in ("run_1/a", "runX1/b", "RUN_1/c", "run_1/d", "other"):
        store.create_plan(key, "P", "p")
    assert store.plan_keys(prefix="run_1/") == ["run_1/a", "run_1/d"], "no wildcards, and case matters"
    assert len(store.plan_keys()) == 5


def test_a_payload_that_no_database_takes_is_refused_with_the_cure(store, monkeypatch):
    monkeypatch.setattr("sky_core.store.plans.LARGEST_PAYLOAD", 10)
    assert store.payload(store.put_payload(b"0123456789")) == b"0123456789"
    with pytest.raises(TooLarge, match="input artifact"):
        store.put_payload(b"0123456789+")


def test_a_payload_is_forgotten_unless_it_was_handed_in_again(store, clock):
    old, again, new = (store.put_payload(data) for data in (b"old", b"again", b"new"))
    clock[0] += 7200.0
    assert [store.put_payload(data) for data in (b"again", b"new")] == [again, new]
    assert store.payloads_before(8000.0) == {old}
    assert store.forget_payloads([old, again], 8000.0) == 1
    assert store.payload(again) == b"again"
    assert store.put_payload(b"old") == old
    assert store.payload(old) == b"old"


def test_secrets_are_forgotten_when_their_job_is_over(store):
    needs = {"profile": "default", "sealed": "c2VhbGVk", "clouds": {}}
    store.submit("k", plan_key="p", task="train", spec="{}", owner=None, needs=needs)
    (job,) = store.lease_due("driver", 60.0, 1)
    assert store.save_job(job, "driver", state="running").needs == needs
    assert store.save_job(job, "driver", state="failed").needs == {**needs, "sealed": ""}
