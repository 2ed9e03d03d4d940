"""A driver whose store cannot be used for a while is there afterwards, and its job has lost nothing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from sky_core.broker import Broker
from tests.conftest import until
from tests.sandbox.brokers import drivers
from tests.sandbox.jobs.test_broker import broker, submit, task  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1, "lease_s": 2}
AWAY_S = 7.0  # some tries, and the end of the lease


@contextmanager
def locked(store_url: str) -> Iterator[None]:
    """SQLite's write lock, held by somebody else."""
    with closing(sqlite3.connect(store_url.removeprefix("sqlite:///"), isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def stopped(request: pytest.FixtureRequest) -> Iterator[None]:
    """The database server, crashed."""
    server = request.getfixturevalue("postgres")
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_a_driver_outlives_its_store(world, broker: Broker, store_url, request):  # noqa: F811
    job = submit(broker, task(run="for i in $(seq 60); do echo tick $i; sleep 0.2; done"))
    until(lambda: b"tick 1\n" in broker.store.log(job.id))
    [driver] = drivers(broker)
    with locked(store_url) if store_url.startswith("sqlite") else stopped(request):
        time.sleep(AWAY_S)
    done = broker.watch(job.id)
    assert done.state == "succeeded"
    assert drivers(broker) == [driver], "the same one, still alive"
    assert broker.store.log(job.id) == b"".join(b"tick %d\n" % number for number in range(1, 61))
    assert len(world.launches(job.id)) == 1
    assert "step failed" not in [event.kind for event in broker.store.events(job.id)]
