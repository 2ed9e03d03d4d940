"""Machines whose clocks are not their cloud's."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sky_core import Resources, Task
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of

SANDBOX = {"clock_skew_s": 90, "aws_notice_s": 8, "azure_notice_s": 8}
PLACES = {
    "aws": {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"},
    "azure": {"cloud": "azure", "region": "eastus", "instance_type": "Standard_D2s_v3"},
}
RUN = """
[ -f $SKY_CHECKPOINT_DIR/kept ] && exit 0
[ $SKY_ATTEMPT = 1 ] || exit 3
trap 'sleep 1; echo kept > $SKY_CHECKPOINT_DIR/kept; exit 1' TERM
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize("name", PLACES)
def test_a_command_has_the_time_that_its_cloud_gives_it(world: Sandbox, tmp_path: Path, name: str) -> None:
    with home_of(world, tmp_path / "home") as home:
        wanted = Resources.model_validate({**PLACES[name], "use_spot": True})
        job = home.submit(Task(name="work", run=RUN, hours=1, checkpoint="1m", resources=wanted))
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("running_since"))
        time.sleep(2)  # its command is under way
        assert world.control.preempt(tags={"skyloom-job": job.id})
        [over] = home.drive(job)
        assert over.state == "succeeded", home.store.events(job.id)[-4:]
