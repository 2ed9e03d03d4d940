"""One process makes the plan of a run, however many ask at once; when it dies, the next one does."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sky_core import Pipeline, Resources, Task
from sky_core.broker import Broker
from sky_core.broker.turns import one_at_a_time
from sky_core.config import CloudConfig, Settings
from sky_core.store import Store

ASKING = 6
LEASE_S = 4.0  # renewed each second: a busy machine may be late with that
spawn = multiprocessing.get_context("spawn")
PIPELINE = Pipeline(name="p", tasks=(Task(name="t", run="true", hours=1, resources=Resources(cpus="4+")),))


def settings(home: Path, store_url: str) -> Settings:
    return Settings(home=home, store_url=store_url, clouds={"aws": CloudConfig(enabled=True)})


def _ask(home: Path, store_url: str, barrier: Any, answers: Any) -> None:
    broker = Broker(settings(home, store_url))
    barrier.wait(240)
    plan = broker.plan("run", PIPELINE)
    answers.put(("polars" in sys.modules, plan.created_at, plan.placements["t"].machine))  # planning needs polars


def test_six_processes_that_ask_at_once_make_one_plan(store_url: str, tmp_path: Path) -> None:
    Store(store_url).close()
    barrier, answers = spawn.Barrier(ASKING), spawn.Queue()
    asking = [spawn.Process(target=_ask, args=(tmp_path, store_url, barrier, answers)) for _ in range(ASKING)]
    for process in asking:
        process.start()
    told = [answers.get(timeout=300) for _ in asking]
    for process in asking:
        process.join(60)
    assert sum(planned for planned, *_ in told) == 1
    assert len({answer[1:] for answer in told}) == 1


def _die_planning(store_url: str, begun: Any, seen: Any) -> None:
    with one_at_a_time(Store(store_url), "run", lease_s=LEASE_S):
        begun.set()
        seen.wait(240)
        os._exit(1)


def test_a_maker_that_dies_hands_over(store_url: str, tmp_path: Path) -> None:
    begun, seen = spawn.Event(), spawn.Event()
    broker = Broker(settings(tmp_path, store_url))
    maker = spawn.Process(target=_die_planning, args=(store_url, begun, seen), daemon=True)
    maker.start()
    assert begun.wait(240)
    assert not broker.store.take_planning("run", "somebody else", 1.0)
    threading.Timer(1.0, seen.set).start()
    assert broker.plan("run", PIPELINE).placements["t"].task == "t"
    assert maker.exitcode == 1, "the plan was made while another process still made it"


def test_a_lease_is_kept_for_as_long_as_its_holder_lives(store_url: str) -> None:
    store = Store(store_url)
    with one_at_a_time(store, "run", lease_s=LEASE_S):
        assert holds_for(1.5 * LEASE_S, lambda: not store.take_planning("run", "somebody else", 1.0))
    assert store.take_planning("run", "somebody else", 60.0)
    assert not store.take_planning("run", "a third", 1.0)
    assert store.take_planning("another run", "a third", 1.0)


def holds_for(seconds: float, claim: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not claim():
            return False
        time.sleep(0.1)
    return True


def test_an_error_lets_the_next_one_try(store_url: str) -> None:
    store = Store(store_url)
    try:
        with one_at_a_time(store, "run"):
            raise ValueError("no plan")
    except ValueError:
        pass
    assert store.take_planning("run", "somebody else", 1.0)
