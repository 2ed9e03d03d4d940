"""Whoever called a bound flow leaves before it is over: nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from tests.conftest import until
from tests.prefect.servers import SILENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FLOW = Path(__file__).parent.parent / "flows" / "called.py"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_of_a_flow_whose_caller_has_left(how, world, broker, environment):
    (world.home / "config.toml").write_text("interest_ttl_s = 4\n")
    own = {**environment, "SKYLOOM_STORE": broker.settings.store_url}
    caller = subprocess.Popen([sys.executable, str(FLOW)], env=own, **SILENT)
    (job,) = until(lambda: broker.store.jobs())
    run = job.key.split("/")[1]

    def state():
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run).state

    until(lambda: state().is_running())
    os.kill(caller.pid, how)
    caller.wait(60)
    if how == signal.SIGINT:
        assert state().is_cancelled(), "said by the caller itself"
    until(lambda: broker.job(job.id).over)
    assert broker.job(job.id).state == "cancelled"
    assert state().is_cancelled()
    assert "process that called the flow" in state().message
    assert world.live() == []
