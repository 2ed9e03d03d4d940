"""kill -9 of the flow's process, then a retry of the flow run: it ends well, with one launch in the cloud's log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sky_core.store import Store
from tests.conftest import until

pytestmark = pytest.mark.slow
FLOW = Path(__file__).parent / "flows" / "reattach.py"


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
