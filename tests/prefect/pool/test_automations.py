"""The automation for dead flow runs, on a server whose triggers are awake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from sky_prefect.automations import dead_flows
from tests.conftest import until
from tests.prefect.servers import SILENT, PrefectServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FLOW = """
import os, sys, time
from prefect import flow
from prefect.runtime import flow_run

@flow
def quiet():
    open(sys.argv[1], "w").write(flow_run.id)
    time.sleep(600)

quiet()
"""


@pytest.fixture
def awake():
    running = PrefectServer(idle=())
    yield running
    running.close()


def test_a_killed_flow_is_set_to_crashed(awake, tmp_path):
    told = tmp_path / "id"
    (tmp_path / "quiet.py").write_text(FLOW)
    environment = {**os.environ, **awake.variables, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    with temporary_settings({PREFECT_API_URL: awake.variables["PREFECT_API_URL"]}):
        dead_flows(silent_s=10).create(_sync=True)
        command = [sys.executable, str(tmp_path / "quiet.py"), str(told)]
        process = subprocess.Popen(command, env=environment, **SILENT)
        run = until(lambda: told.exists() and told.read_text())

        def state():
            with get_client(sync_client=True) as client:
                return client.read_flow_run(run).state

        until(lambda: beats(awake, run))
        process.send_signal(signal.SIGKILL)
        process.wait()
        until(lambda: state().is_crashed())
        assert "silent for 10 s" in state().message


def beats(server: PrefectServer, run: str) -> list[object]:
    """The flow run's heartbeats that the server knows of."""
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    request = urllib.request.Request(
        f"{server.variables['PREFECT_API_URL']}/events/filter",
        json.dumps({"filter": wanted}).encode(), {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request) as reply:
        found: list[object] = json.load(reply)["events"]
    return found
