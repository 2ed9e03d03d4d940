"""One process makes a run's plan; the others wait for it: six roots of an Airflow run come within a second.

Whoever comes first takes a lease in the store and renews it as long as it lives. When it has died, or has given up with
an error, the next one takes over. The plan itself is kept atomically all the same: should a maker be stopped for longer
than its lease lasts, two may plan, and one plan is kept.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sky_core.errors import StoreTrouble
from sky_core.store import Store

LEASE_S = 20.0
RENEW_S = 5.0
LOOK_S = (0.1, 1.0)  # how long to wait before looking again: the first time, and at most


@contextmanager
def one_at_a_time(store: Store, key: str, lease_s: float = LEASE_S) -> Iterator[None]:
    """Wait for the turn to make the plan of ``key``, and have it until the end of the block.

    Raises:
        StoreTrouble: if the store cannot be used.
    """
    holder, wait = uuid.uuid4().hex, LOOK_S[0]
    while not store.take_planning(key, holder, lease_s):
        time.sleep(wait)
        wait = min(2 * wait, LOOK_S[1])
    done = threading.Event()
    keeper = threading.Thread(target=_renew, args=(store, key, holder, lease_s, done), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()
        with suppress(StoreTrouble):  # then the lease runs out by itself
            store.end_planning(key, holder)


def _renew(store: Store, key: str, holder: str, lease_s: float, done: threading.Event) -> None:
    while not done.wait(RENEW_S * lease_s / LEASE_S):
        with suppress(StoreTrouble):
            store.take_planning(key, holder, lease_s)
