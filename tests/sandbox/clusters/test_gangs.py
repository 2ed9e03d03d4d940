"""Gangs on a cloud: all machines or none, and billed no longer than they lived."""

from __future__ import annotations

import pytest

from sky_core import Resources, Task
from tests.sandbox.driving import home_of

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 1 / 3600}
NODES = 8


def test_a_gang_of_which_one_fails_at_boot_is_given_back_and_made_elsewhere(world, tmp_path):
    world.control.fault("aws", "boot", "error", code="Server.InternalError")
    wanted = Resources(cloud="aws", instance_type="t3.small")
    task = Task(name="gang", run="echo here", num_nodes=NODES, hours=0.1, resources=wanted)
    with home_of(world, tmp_path) as home:
        (job,) = home.drive(home.submit(task))
        assert (job.state, job.result["exit_code"]) == ("succeeded", 0), home.store.events(job.id)
        first, second = home.store.clusters(job_id=job.id)
        assert second.outcome == "succeeded"
        assert first.zone != second.zone
        assert sorted(home.store.log(job.id).splitlines()) == [b"(rank %d) here" % rank for rank in range(NODES)]
        assert world.live() == []
        lines = [line for line in world.control.ledger() if line["kind"] == "machine"]
        assert [line for line in lines if line["ended"] is None] == []
        mine = {
            c.token: [line for line in lines if line["tags"]["skyloom-cluster"] == c.token] for c in (first, second)
        }
        assert len(mine[second.token]) == NODES
        assert len(mine[first.token]) < NODES, "a machine that never ran is not billed"
        for cluster in (first, second):  # nothing is billed for longer than we say that it lived
            assert all(line["ended"] <= cluster.ended_at + 1.0 for line in mine[cluster.token])
