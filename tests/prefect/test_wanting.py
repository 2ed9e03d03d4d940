"""A flow's process is gone for good: its job goes on while nobody knows better, and ends once Prefect says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Crashed

from sky_prefect.wanting import still_wanted
from tests.conftest import until

pytestmark = pytest.mark.slow
FLOW = Path(__file__).parent / "flows" / "exits.py"


def test_a_job_ends_when_prefect_does_not_want_it_any_more(world, broker, environment):
    (world.home / "config.toml").write_text("interest_ttl_s = 4\n")
    own = {**environment, "SKYLOOM_STORE": broker.settings.store_url}
    process = subprocess.Popen([sys.executable, str(FLOW)], env=own, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    (job,) = until(lambda: [job for job in broker.store.jobs() if b"tick 1\n" in broker.store.log(job.id)])
    process.kill()
    process.wait()
    (interest,) = broker.store.interest_of(job.id)
    assert interest.how["engine"] == "prefect"
    assert "key" not in str(interest.how).lower()

    until(lambda: any(event.kind == "unwanted" for event in broker.store.events(job.id)))
    assert still_wanted({**interest.how, "process": None}) is None, "Prefect does not notice that a process was killed"
    assert still_wanted(interest.how) is None, "a retry may come, and want it"
    assert not broker.job(job.id).over

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(interest.how["flow_run"]).state
        assert (state.type.value, state.name) == ("CRASHED", "ProcessLost"), "so that Prefect lets it be retried"
        client.set_flow_run_state(interest.how["flow_run"], Crashed(), force=True)
    until(lambda: broker.job(job.id).over)
    assert broker.job(job.id).state == "cancelled"
    assert world.live() == []
