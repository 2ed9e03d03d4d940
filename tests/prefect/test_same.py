"""Under Skyloom's runner, flows come to what they come to under Prefect's own: values, errors, states, hooks, logs.

All flows run side by side, first in Prefect's thread pool and then with their cloud tasks in the sandbox; what each
has come to is kept, and the tests compare.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import re
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from prefect import State
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)
from prefect.task_runners import ThreadPoolTaskRunner

from sky_core.broker import Broker
from sky_core.broker.calls import Reference
from sky_prefect import SkyTaskRunner
from tests.prefect.same import api, endings, machines, ordinary, values  # noqa: F401 - they register their flows
from tests.prefect.same.cases import CASES, NOTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # the first test waits for all the flows
AT_ONCE = 10  # flows side by side
CHANCE = re.compile(r"-[0-9a-f]{3}(?='|$)|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # in names, and ids of runs
# What is known to differ: a task that is called on a machine is part of the one that calls it.
DIFFERENT = {"nested_tasks": {"log", "tasks"}, "nested_task_that_asks": {"log", "tasks"}}
RUNNERS = {"pool": ThreadPoolTaskRunner, "sky": SkyTaskRunner}


@dataclass
class Came:
    """What a flow run came to."""

    run: UUID
    state: tuple[str | None, str | None]
    value: Any
    notes: list[str]
    log: Counter[tuple[str, str]]
    tasks: list[tuple[str, str, str | None]] = field(default_factory=list)  # name, final state's type and name


class Heard(logging.Handler):
    """What is said in runs' logs, by flow run: what users say themselves, warnings and errors, and how runs end."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: dict[str, list[tuple[str, str]]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        said = CHANCE.sub("", record.getMessage())
        if record.levelno >= logging.WARNING or said.startswith(("user:", "Finished in state")):
            self.lines[str(getattr(record, "flow_run_id", None))].append((record.levelname, said))


def plain(value: Any) -> Any:
    """A value that can be compared: states and errors by what they say."""
    if isinstance(value, State):
        return "state", value.name
    if isinstance(value, BaseException):
        return "error", type(value).__name__, str(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    assert not isinstance(value, Reference)
    return value


ONLY = os.environ.get("SAME_ONLY")  # a pattern of flows' names: what to try while one of them is mended
CHOSEN = [name for name in sorted(CASES) if re.search(ONLY or "", name)]


@pytest.fixture(scope="module")
def came(here: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Came]]:
    """What every flow came to, by runner and flow."""
    heard = Heard()
    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(heard)
    found = {}
    for runner in RUNNERS:
        own = {
            PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp(runner),
            PREFECT_LOGGING_TO_API_ENABLED: False,
            PREFECT_CLIENT_MAX_RETRIES: 60,  # a server on SQLite refuses what it is too busy for
        }
        with temporary_settings(own), ThreadPoolExecutor(AT_ONCE) as threads:
            runs = {name: threads.submit(copy_context().run, run, name, RUNNERS[runner]) for name in CHOSEN}
            found[runner] = {name: came_to(one.result(), heard) for name, one in runs.items()}
    for logger in loggers:
        logger.removeHandler(heard)
    add_tasks([one for by_name in found.values() for one in by_name.values()])
    return found


def run(name: str, runner: type) -> State[Any]:
    made = CASES[name].with_options(task_runner=runner())(return_state=True)
    return asyncio.run(made) if inspect.iscoroutine(made) else made


def came_to(state: State[Any], heard: Heard) -> Came:
    run = state.state_details.flow_run_id
    assert run is not None
    value = plain(state.result(raise_on_failure=False))
    said = Counter(heard.lines[str(run)])
    return Came(run, (state.type.value, state.name), value, NOTES[run], said)


def add_tasks(all_came: list[Came], seconds: float = 120) -> None:
    """How the task runs ended, as the server knows it once it has digested what it was told."""
    known, end = None, time.monotonic() + seconds
    while time.monotonic() < end:
        before, known = known, read_tasks([one.run for one in all_came])
        if known == before and all(kind not in ("RUNNING", "SCHEDULED") for of in known.values() for _, kind, _ in of):
            break
        time.sleep(3)
    for one in all_came:
        one.tasks = known[one.run] if known else []


def read_tasks(runs: list[UUID]) -> dict[UUID, list[tuple[str, str, str | None]]]:
    found: dict[UUID, list[tuple[str, str, str | None]]] = {run: [] for run in runs}
    with get_client(sync_client=True) as client:
        for start in range(0, 100_000, 200):
            page = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": runs}), offset=start, limit=200)
            for one in page:
                kind = one.state_type.value if one.state_type else ""
                found[one.flow_run_id].append((CHANCE.sub("", one.name), kind, one.state_name))
            if len(page) < 200:
                break
    return {run: sorted(of) for run, of in found.items()}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_flow_comes_to_the_same(came, name):
    pool, sky = came["pool"][name], came["sky"][name]
    for what in {"value", "state", "notes", "log", "tasks"} - DIFFERENT.get(name, set()):
        assert getattr(sky, what) == getattr(pool, what), f"{what} of {sky.state}: {sky.value!r}; {dict(sky.log)}"


def test_each_job_had_one_machine_and_none_is_left(came, world):
    broker = Broker.open()
    jobs = broker.store.jobs()
    assert len(jobs) > len(CHOSEN) / 2, "the cloud tasks did run in a cloud"
    launches = Counter(len(world.launches(job.id)) for job in jobs)
    assert set(launches) == {1}
    assert world.live() == []
    assert threading.active_count() < 100
