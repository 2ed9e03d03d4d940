"""What jobs brought along leaves the store some time after their end, and nothing that is still of use with it."""

import hashlib
import json
import time

import pytest

from sky_core.job.forgetting import DAY_S, forget
from sky_core.store import Store

NEEDS = {"profile": "default", "clouds": {}, "key_id": "k"}


@pytest.fixture
def now():
    return [time.time() - 40 * DAY_S]


@pytest.fixture
def store(store_url, now):
    store = Store(store_url, clock=lambda: now[0])
    yield store
    store.close()


def submitted(store, key, *pieces):
    parcel = {"sha256": "folder", "pieces": [store.put_payload(piece) for piece in pieces]}
    spec = json.dumps({"function": store.put_payload(key.encode())})
    return store.submit(key, plan_key="p", task="t", spec=spec, owner=None, needs={**NEEDS, "workdir": parcel})


def ended(store, key, value=None):
    (job,) = [job for job in store.lease_due("driver", 60.0, 10) if job.key == key]
    result = {"exit_code": 0} | ({"value": store.put_payload(value)} if value else {})
    store.save_job(job, "driver", state="succeeded", result=result)


def kept(store, *contents):
    """Which of these the store has."""
    there = store.payloads_before(time.time() + DAY_S)
    return {data for data in contents if hashlib.sha256(data).hexdigest() in there}


def test_what_no_job_needs_goes_after_its_days(store, now):
    submitted(store, "old", b"folder one", b"shared")
    ended(store, "old", b"its value")
    submitted(store, "live", b"shared", b"folder two")
    now[0] += 39 * DAY_S
    submitted(store, "young", b"folder three")
    ended(store, "young")
    assert forget(store, 0) == 0
    assert forget(store, 60) == 0
    assert forget(store, 30) == 2
    everything = (b"old", b"folder one", b"shared", b"its value", b"live", b"folder two", b"young", b"folder three")
    assert kept(store, *everything) == set(everything) - {b"old", b"folder one"}
    assert forget(store, 30) == 0


def test_a_folder_that_a_new_job_brings_again_stays(store, now):
    submitted(store, "old", b"folder")
    ended(store, "old")
    now[0] += 39 * DAY_S
    store.put_payload(b"folder")  # the job that brings it is about to be submitted
    assert forget(store, 30) == 1, "the old job's call"
    assert kept(store, b"folder") == {b"folder"}
