"""What the tests through real client libraries share: tokens to launch with, and an object store of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pytest

from sky_sandbox.server import reserve_port
from sky_sandbox.storage import app
from tests.conftest import Sandbox
from tests.sandbox.lab import Lab
from tests.sandbox.loopback import serve, store_options
from tests.sandbox.park import Park

if TYPE_CHECKING:
    from sky_core.clouds.gcp.provider import Gcp

numbers = itertools.count()


@pytest.fixture
def token() -> str:
    """A token that no other test uses: the sandbox never forgets one."""
    return f"test-{next(numbers)}"


@pytest.fixture(scope="module")
def gcp(shared_sandbox: Sandbox) -> Gcp:
    """The Google Cloud provider."""
    from sky_core.clouds.gcp.provider import Gcp  # takes seconds; most tests go without

    return Gcp(shared_sandbox.settings.clouds["gcp"])


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an object store that has a bucket ``jobs`` for each protocol."""
    with serve(app(tmp_path_factory.mktemp("objects"))) as url:
        for kind, options in store_options(url).items():
            fsspec.filesystem(kind, **options).mkdir("jobs")
        yield url


@pytest.fixture(scope="module")
def park(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Park]:
    """Machines without a cloud around them."""
    with reserve_port() as ssh, reserve_port() as metadata:
        park = Park(tmp_path_factory.mktemp("park"), ssh.getsockname()[1], metadata.getsockname()[1])
        yield park
        park.close()


@pytest.fixture
def lab(park: Park, tmp_path: Path) -> Iterator[Lab]:
    """Two hosts of somebody's own."""
    lab = Lab(park, tmp_path)
    yield lab
    for machine in lab.machines:
        park.kill(machine)
