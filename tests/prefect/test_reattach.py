"""kill -9 of the flow's process, then a retry of the flow run: it ends well, with one launch in the cloud's log."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from sky_core.store import Store
from tests.conftest import until

pytestmark = pytest.mark.slow
FLOW = Path(__file__).with_name("reattach_flow.py")


@pytest.fixture(scope="module")
def environment(world, tmp_path_factory):
    """A Prefect server of our own, and the variables that lead to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {
        **os.environ, **world.environ, "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect-home")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }  # fmt: skip
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def healthy():
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2).close()
            return True

    until(healthy)
    yield variables
    server.terminate()
    server.wait()


def test_a_killed_flow_finds_its_job_again(world, environment):
    store = Store(world.settings.store_url)
    first = subprocess.Popen([sys.executable, str(FLOW), "new"], env=environment, stdout=subprocess.PIPE, text=True)
    run_id = first.stdout.readline().split()[-1]
    until(lambda: any(b"tick 5\n" in store.log(job.id) for job in store.jobs()))
    first.kill()
    first.wait()
    again = subprocess.run([sys.executable, str(FLOW), run_id], env=environment, capture_output=True, text=True)
    assert again.stdout.splitlines()[-1:] == ["result 42"], again.stdout + again.stderr
    (job,) = store.jobs()
    assert len(world.launches(job.id)) == 1
    assert world.live() == []
