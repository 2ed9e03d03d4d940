"""A Prefect server of our own for the tests that run flows, and the sandbox that their tasks run in."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sky_core.broker import Broker
from tests.conftest import Sandbox, until


@pytest.fixture(scope="session")
def server() -> Iterator[Mapping[str, str]]:
    """A Prefect server on a free port; the variables that lead to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    idle = ("FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "TRIGGERS", "CLEANUP_RECONCILER")  # of no use to any test
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))  # no disk to wait for
    variables = {
        **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in idle},
        "PREFECT_SERVER_DATABASE_TIMEOUT": "120",  # a busy host takes its time
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "120",
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, **variables}, **silent)

    def healthy() -> bool:
        assert process.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{variables['PREFECT_API_URL']}/health", timeout=2).close()
            return True
        return False

    until(healthy, 400)  # a busy host takes its time to import a server
    yield variables
    process.terminate()
    process.wait()
    shutil.rmtree(home)


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
