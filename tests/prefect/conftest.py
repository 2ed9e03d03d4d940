"""A Prefect server of our own for the tests that run flows, and the sandbox that their tasks run in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from sky_core.broker import Broker
from tests.conftest import Sandbox, until
from tests.prefect.servers import PrefectServer


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[PrefectServer]:
    """A Prefect server for all tests."""
    running = PrefectServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def server(prefect_server: PrefectServer) -> Mapping[str, str]:
    """The variables that lead to the server."""
    return prefect_server.variables


@pytest.fixture(scope="module")
def environment(world: Sandbox, server: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs flows in the module's sandbox."""
    return {**os.environ, **world.environ, **server}


@pytest.fixture(scope="module")
def here(environment: Mapping[str, str]) -> Iterator[None]:
    """Flows of this process run in the module's sandbox, too."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with pytest.MonkeyPatch.context() as patch:
        for name in ("SKYLOOM_HOME", "SKYLOOM_PROFILE"):
            patch.setenv(name, environment[name])
        with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}):
            yield


@pytest.fixture
def broker(world: Sandbox, own_store_url: str, monkeypatch: pytest.MonkeyPatch, here: None) -> Iterator[Broker]:
    """A broker with a store of the test's own, which the test's flows use."""
    monkeypatch.setenv("SKYLOOM_STORE", own_store_url)
    broker = Broker.open()
    yield broker
    for job in broker.store.jobs(live=True):
        broker.cancel(job.id, "the test is over")
    until(lambda: not broker.store.jobs(live=True))
