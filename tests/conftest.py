"""Fixtures for all tests that need clouds: one sandbox for the whole run, on free ports, gone with the run."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from sky_core.config import Settings
from sky_sandbox import client
from sky_sandbox.client import Control
from tests.postgres import Postgres, programs

# A busy machine is not a fault of what is tested.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

# What keeps the jobs of tests that do not say: "sqlite", or with ``TEST_STORE=postgres`` PostgreSQL.
STORE = os.environ.get("TEST_STORE", "sqlite")


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox: its Skyloom home, the settings that lead there, and the client that plays fate."""

    home: Path
    settings: Settings
    control: Control
    environ: Mapping[str, str]  # variables by which a process uses it

    def live(self) -> list[str]:
        """Ids of the machines that have not ended, in order."""
        return sorted(machine["id"] for machine in self.control.machines(live=True))

    def launches(self, job: str) -> list[str]:
        """Tokens of the clusters that the clouds' own log says were made for a job, one for each machine."""
        starts = [entry["machine"]["tags"] for entry in self.control.audit() if entry["event"] == "start"]
        return [tags["skyloom-cluster"] for tags in starts if tags.get("skyloom-job") == job]


def until(condition: Callable[[], Any], seconds: float = 300.0) -> Any:
    """Wait for a condition; its value. Generous, since the host may be loaded."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def start_sandbox(home: Path, store: str | None = None, **options: object) -> Sandbox:
    """Start a sandbox that ends with this process; for tests that need one of their own, and perhaps a store of it."""
    home.mkdir(parents=True, exist_ok=True)
    control = client.up(home, attached=True, **{"boot_s": 0.1, **options})
    environ = {"SKYLOOM_HOME": str(home), "SKYLOOM_PROFILE": "sandbox", **({"SKYLOOM_STORE": store} if store else {})}
    return Sandbox(home, Settings.load(environ), control, environ)


@pytest.fixture(scope="session", autouse=True)
def _no_real_metadata() -> Iterator[None]:
    """Keep SDKs from looking for the metadata service of a cloud that the tests might run on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("SKYLOOM_HOME", "SKYLOOM_PROFILE", "SKYLOOM_STORE", "SKYLOOM_CLOUDS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def shared_sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The sandbox that the tests of a run share; use :func:`sandbox`, which tidies it up after each test."""
    running = start_sandbox(tmp_path_factory.mktemp("skyloom"), _store_of_a_sandbox(request))
    yield running
    client.down(running.home)


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox without limits, faults or machines; what a test leaves behind is removed after it."""
    yield shared_sandbox
    shared_sandbox.control.reset()


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of the module's own, with the options that the module names in ``SANDBOX``."""
    options = getattr(request.module, "SANDBOX", {})
    own = start_sandbox(tmp_path_factory.mktemp("world"), _store_of_a_sandbox(request), **options)
    yield own
    client.down(own.home)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run."""
    found = programs()
    if found is None:
        why = "no PostgreSQL server here (Debian: apt-get install postgresql)"
        # Where ``make test`` may install it, its absence must not pass for success.
        (pytest.fail if os.geteuid() == 0 and shutil.which("apt-get") else pytest.skip)(why)
    server = Postgres(found)
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"] if STORE == "sqlite" else [STORE])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh store: a test that asks for it runs on SQLite and on PostgreSQL."""
    return _fresh_store(request, request.param, tmp_path)


@pytest.fixture
def own_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh store of the kind that this run of the tests is about."""
    return _fresh_store(request, STORE, tmp_path)


def _fresh_store(request: pytest.FixtureRequest, kind: str, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder / 'skyloom.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.schema()


def _store_of_a_sandbox(request: pytest.FixtureRequest) -> str | None:
    """None for the one in its home, which is SQLite."""
    return None if STORE == "sqlite" else _fresh_store(request, STORE, Path())
