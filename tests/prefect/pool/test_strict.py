"""Whole flows on machines with nothing but what their image has, and flows there that ask for further machines."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from sky_core.store import Store
from sky_prefect.blocks import SkyloomConfig
from sky_sandbox import client
from tests.conftest import start_sandbox, until
from tests.prefect.pool.pools import FLOWS, MACHINE, Pool, common_folder
from tests.prefect.servers import FAST

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def world():
    """A sandbox whose home its machines see, too."""
    home = Path(tempfile.mkdtemp(dir=FAST))
    yield start_sandbox(home, images="strict")
    client.down(home)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def pool(world, server):
    with Pool(world, server, "strict").made() as made:
        yield made


@pytest.fixture
def folder():
    with common_folder() as made:
        yield made


def test_a_flow_has_the_workers_packages_and_asks_for_a_further_machine(pool, folder):
    pool.deploy("nested", ".", "nested.py:nested")
    SkyloomConfig(home=str(pool.world.home), store=f"sqlite:///{folder}/team.db", profile="sandbox").save(
        "team", overwrite=True, _sync=True
    )
    run = pool.begin("nested/nested", folder, MACHINE, workdir=str(FLOWS))
    state = pool.ended(run)
    assert state.is_completed(), pool.logs(run)
    value, inner, outer = (folder / "told").read_text().split()
    assert value == "49"
    assert inner != outer
    store = Store(f"sqlite:///{folder}/team.db")
    until(lambda: [job.id for job in store.jobs() if job.over] == [inner])
