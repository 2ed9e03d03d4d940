"""Gangs on a cloud: all machines or none, and billed no longer than they lived."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from sky_core import Checkpoint, Resources, Task
from sky_core.driver.stages import running
from sky_core.driver.step import Step
from sky_core.driver.urls import storage_options, verdict_url
from sky_core.remote.artifacts import read_object
from sky_core.remote.ssh_executor import SshExecutor
from tests.conftest import until
from tests.crash import judge
from tests.sandbox.driving import home_of

pytestmark = pytest.mark.slow
HOURS_PER_SECOND = 1 / 3600
SANDBOX = {"hours_per_second": HOURS_PER_SECOND}
NODES = 8
LINES = 3000
TYPES = {"aws": "t3.small", "gcp": "n2-standard-2", "azure": "Standard_D2s_v5"}


@pytest.mark.parametrize("cloud", TYPES)
def test_a_gang_whose_third_machine_fails_at_boot_is_given_back_and_made_elsewhere(world, tmp_path, cloud):
    world.control.fault(cloud, "boot", "error", code="Server.InternalError", spared=2)
    wanted = Resources(cloud=cloud, instance_type=TYPES[cloud])
    task = Task(name="gang", run="echo here", num_nodes=NODES, hours=0.1, resources=wanted)
    with home_of(world, tmp_path) as home:
        (job,) = home.drive(home.submit(task))
        assert (job.state, job.result["exit_code"]) == ("succeeded", 0), home.store.events(job.id)
        first, second = home.store.clusters(job_id=job.id)
        assert second.outcome == "succeeded"
        assert (first.region, first.zone) != (second.region, second.zone)
        assert sorted(home.store.log(job.id).splitlines()) == [b"(rank %d) here" % rank for rank in range(NODES)]
        until(lambda: world.live() == [])
        tags = {"skyloom-job": job.id}
        until(lambda: world.control.ledger(open_only=True, tags=tags) == [])  # Azure's addresses go after its machines
        entries = world.control.ledger(tags=tags)
        machines = [entry for entry in entries if entry["kind"] == "machine"]
        mine = {c.token: [m for m in machines if m["tags"]["skyloom-cluster"] == c.token] for c in (first, second)}
        assert len(mine[second.token]) == NODES
        assert len(mine[first.token]) >= 2, "two had run"
        # Nothing lives longer than we say that it did. The group of a launch that was refused goes a moment later.
        assert all(line["ended"] <= second.ended_at + 1.0 for line in mine[second.token])
        assert all(line["ended"] <= second.launched_at for line in mine[first.token])
        hours = sum(line.hours for line in home.broker.bill("run").lines)
        assert judge.misbilled(entries, hours, HOURS_PER_SECOND) == []


def test_the_log_of_a_gang_has_every_line_of_every_rank(world, tmp_path):
    wanted = Resources(cloud="gcp", instance_type=TYPES["gcp"])
    task = Task(name="gang", run=f"seq -f 'line %g' {LINES}", num_nodes=4, hours=0.1, resources=wanted)
    with home_of(world, tmp_path) as home:
        (job,) = home.drive(home.submit(task))
        assert job.state == "succeeded", home.store.events(job.id)
        log = home.store.log(job.id).splitlines()
    for rank in range(4):
        said = [line for line in log if line.startswith(b"(rank %d) " % rank)]
        assert said == [b"(rank %d) line %d" % (rank, number) for number in range(1, LINES + 1)]


FAILS = """
if [ "$SKY_ATTEMPT" = 2 ]; then exec cat "$SKY_CHECKPOINT_DIR/half"; fi
if [ "$SKY_NODE_RANK" = 0 ]; then echo kept > "$SKY_CHECKPOINT_DIR/half"; fi
if [ "$SKY_NODE_RANK" = 2 ]; then sleep 600; fi
while ssh node-2 true; do sleep 0.2; done
exit 1
"""


def test_ranks_that_fail_because_a_machine_is_lost_do_not_fail_the_gang(world, tmp_path):
    wanted = Resources(cloud="aws", instance_type=TYPES["aws"])
    saves = Checkpoint(interval=0.5 / 3600)
    with home_of(world, tmp_path) as home:
        job = home.submit(Task(name="gang", run=FAILS, num_nodes=3, hours=0.1, resources=wanted, checkpoint=saves))
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("checkpoint"))
        step = Step.load(home.driving, home.store.job(job.id))
        name = step.cluster.instance_ids[2].rpartition("/")[2]
        (third,) = (each["id"] for each in world.control.machines(live=True) if each["id"].rpartition("/")[2] == name)
        world.control.kill(third)
        left, options = verdict_url(step, step.cluster, step.memory.bucket), storage_options(step, step.cluster)
        until(lambda: read_object(left, options) is not None)
        (job,) = home.drive(job)
        assert (job.state, job.attempt) == ("succeeded", 2), home.store.events(job.id)
        assert {*home.store.log(job.id).splitlines()} >= {b"(rank %d) kept" % rank for rank in range(3)}


# A machine lets nobody in any more once its command has ended, so each waits for the others to have been there.
LOG_IN_EVERYWHERE = """
for node in 0 1 2; do ssh node-$node touch ~/$SKY_JOB_ID-$SKY_NODE_RANK || exit 1; done
until test -e ~/$SKY_JOB_ID-0 -a -e ~/$SKY_JOB_ID-1 -a -e ~/$SKY_JOB_ID-2; do sleep 0.1; done
"""


def test_a_command_begins_once_all_machines_of_its_gang_let_it_in(world, tmp_path, monkeypatch):
    start = SshExecutor._start

    def late(link, program, wanted, description):
        if json.loads(description)["rank"] == 2:
            time.sleep(2.0)
        return start(link, program, wanted, description)

    monkeypatch.setattr(SshExecutor, "_start", staticmethod(late))
    wanted = Resources(cloud="aws", instance_type=TYPES["aws"])
    with home_of(world, tmp_path) as home:
        (job,) = home.drive(
            home.submit(Task(name="gang", run=LOG_IN_EVERYWHERE, num_nodes=3, hours=0.1, resources=wanted))
        )
        assert job.state == "succeeded", home.store.log(job.id)


def test_once_machines_of_a_gang_come_up_the_others_are_looked_for_soon(world, tmp_path, monkeypatch):
    wanted = Resources(cloud="aws", instance_type=TYPES["aws"])
    with home_of(world, tmp_path) as home:
        job = home.submit(Task(name="gang", run="true", num_nodes=3, hours=0.1, resources=wanted))
        home.drive(job, stop=lambda: any(one.state == "launched" for one in home.store.clusters(job_id=job.id)))
        step, pauses = Step.load(home.driving, home.store.job(job.id)), []
        machines = running.look(step, step.cluster)
        with monkeypatch.context() as patched:
            for up in (0, 0, 0, 0, 0, 1, 1, 2, 2):
                shown = [replace(one, state="running" if n < up else "pending") for n, one in enumerate(machines)]
                patched.setattr(running, "look", lambda *_, shown=shown: shown)
                outcome = running.boot(step)
                pauses.append(outcome.after_s)
                step = step.after(outcome)
        assert pauses[4:] == [2.0, running.SOON_S, 2.0, running.SOON_S, 2.0]
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "succeeded"
