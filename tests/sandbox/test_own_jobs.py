"""Jobs on machines of one's own, from the plan to the bill: slots, queueing, spill-over, a host that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sky_core import Artifact, Resources, Task
from tests.conftest import Sandbox
from tests.sandbox.lab import Lab
from tests.sandbox.park import Park

WORK = 'echo "$SKY_JOB_ID" > "$SKY_OUTPUT_OUT"'


@pytest.fixture
def lab(park: Park, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(park, tmp_path)
    yield lab
    for machine in lab.machines:
        park.kill(machine)


def test_a_job_runs_on_a_host_and_leaves_nothing_but_its_output(sandbox: Sandbox, lab: Lab) -> None:
    task = Task(name="t", run=WORK, hours=0.1, resources=Resources(cloud="lab"), outputs={"out": Artifact()})
    with lab.home(sandbox) as home:
        (job,) = home.drive(home.submit(task))
        assert job.state == "succeeded", job.result
        output = job.result["outputs"]["out"]
        assert output["uri"].startswith("s3://skyloom-lab/")
        assert output["location"] == "aws/us-east-1", "where the bucket lies, not where the host stands"
        assert home.broker.bill("run").usd == 0
    for machine in lab.machines:
        assert lab.claims(machine) == []
        assert not list((lab.park.folder(machine) / ".skyloom" / "jobs").glob("*"))
    assert sandbox.live() == []
