"""Kept machines in the store: one job has them, one end is written down, whoever comes at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sky_core.store import Cluster, Job, KeptGone, Observation, Reach, Store

REACH = Reach("default", "key")
NEEDS = {"profile": "default", "key_id": "key"}
SEEN = Observation(0.0, "aws", "us-east-1", "us-east-1a", "m5.large", "on-demand", "released", hours=1.0)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def submitted(store: Store, key: str) -> Job:
    return store.submit(key, plan_key="p", task="t", spec="{}", owner=None, needs=NEEDS)


def kept(store: Store, number: int = 1, *, until_s: float = 100.0, **fields: object) -> Cluster:
    """A cluster that is kept, of a job of its own."""
    now, job = store.now(), submitted(store, f"keeper-{number}")
    plain = {
        "token": f"token-{number}", "job_id": job.id, "attempt": 1, "state": "kept", "cloud": "aws",
        "region": "us-east-1", "zone": "us-east-1a", "instance_type": "m5.large", "use_spot": False, "num_nodes": 1,
        "price": 0.1, "host_key": "", "intended_at": now, "launched_at": now, "instance_ids": ("i-1",),
        "kept_as": "dev", "kept_at": now, "kept_until": now + until_s,
    }  # fmt: skip
    cluster = Cluster(**(plain | fields))  # type: ignore[arg-type]
    store.put_cluster(cluster)
    return cluster


def as_taken(cluster: Cluster) -> Cluster:
    return replace(cluster, state="ended", ended_at=1.0, stopped_at=1.0, outcome="taken")


def test_what_is_to_be_had_is_of_that_name_and_team_and_stays(store):
    longest, shorter = kept(store, 1, until_s=200), kept(store, 2)
    kept(store, 3, kept_as="other")
    kept(store, 4, until_s=-1)
    kept(store, 5, stopped_at=1.0)
    assert store.to_be_had("dev", REACH) == [longest, shorter]
    assert store.to_be_had("dev", Reach("default", "another key")) == []
    assert store.to_be_had("dev", Reach("sandbox", "key")) == []
    assert len(store.kept_of("default")) == len(store.kept()) == 5
    assert store.kept_of("sandbox") == []


def test_of_many_that_want_it_one_has_it(store):
    theirs = as_taken(kept(store))
    jobs = [submitted(store, f"next-{number}") for number in range(6)]
    store.lease_due("me", 600.0, 20, REACH)
    won, lost = [], []

    def take(job: Job) -> None:
        own = replace(theirs, token=f"own-{job.id}", job_id=job.id, state="launched", launched_as=theirs.tag)
        try:
            store.save_job(job, "me", clusters=[own], takes=theirs)
            won.append(job.id)
        except KeptGone:
            lost.append(job.id)

    leased = [store.job(job.id) for job in jobs]
    threads = [threading.Thread(target=take, args=(job,)) for job in leased]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)
    assert store.cluster(theirs.token) == theirs
    assert store.takers("dev", REACH) == won
    assert store.takers("other", REACH) == store.takers("dev", Reach("sandbox", "key")) == []
    assert [cluster.job_id for cluster in store.clusters(open_only=True)] == won, "the others have written nothing"


def test_what_is_told_to_end_is_not_to_be_had_and_the_other_way_round(store):
    first = kept(store)
    assert [one.token for one in store.keep_no_longer("dev", "default")] == [first.token]
    assert store.to_be_had("dev", REACH) == []
    job = submitted(store, "next")
    (leased,) = [one for one in store.lease_due("me", 600.0, 20, REACH) if one.id == job.id]
    with pytest.raises(KeptGone):
        store.save_job(leased, "me", takes=as_taken(first))
    second = kept(store, 2)
    store.save_job(leased, "me", takes=as_taken(second))
    assert store.order_end(second.token, "idle", 5.0) is None


def test_an_end_is_ordered_and_noted_once(store):
    cluster = kept(store)
    ordered = store.order_end(cluster.token, "idle", 5.0)
    assert ordered is not None
    assert store.order_end(cluster.token, "preempted", 9.0) == ordered, "the first word stands"
    ended = replace(ordered, state="ended", ended_at=6.0)
    assert store.note_end(ended, SEEN)
    assert not store.note_end(ended, SEEN)
    assert store.kept() == []
    assert store.cluster(cluster.token) == ended
    assert len(store.observations()) == 1
    assert [event.kind for event in store.events(cluster.job_id)].count("terminated") == 1
