"""Jobs from submission to bill, through the real driver process, real SDKs and real SSH, with things going wrong."""

from __future__ import annotations

import os
import signal

import pytest

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.broker.runner import PipelineRun
from sky_core.driver.sweep import collect
from sky_core.errors import JobCancelled, TaskFailed
from sky_core.planner.plan import Plan
from tests.conftest import until
from tests.sandbox.brokers import drivers, own_broker
from tests.sandbox.ssh import request

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
on_sqlite = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)  # one store is enough for these


@pytest.fixture
def broker(world, store_url, monkeypatch):
    """A broker with a store of its own: what one test learns of refusals does not bother the next."""
    with own_broker(world, monkeypatch, store_url) as broker:
        yield broker


def task(name="work", run="echo hello", **fields):
    resources = {"cloud": "aws", "region": "us-east-1", "instance_type": "m5.large", **fields.pop("resources", {})}
    return Task(name=name, run=run, hours=1, resources=Resources(**resources), **fields)


def submit(broker, one, key="run"):
    broker.plan(key, Pipeline(name="p", tasks=(one,)))
    return broker.submit(f"{key}/{one.name}", one, key)


def test_a_pipeline_runs_over_two_regions_and_is_billed(world, broker):
    first = task("first", 'mkdir -p "$SKY_OUTPUT_DATA" && echo 42 > "$SKY_OUTPUT_DATA/x"',
                 outputs={"data": Artifact(size_gb=1)})  # fmt: skip
    second = task("second", 'cat "$SKY_INPUT_DATA/x"', inputs={"data": "first.data"}, resources={"region": "us-west-2"})
    lines = []
    run = PipelineRun(broker, "run", Pipeline(name="p", tasks=(first, second)), lambda *_: None,
                      lambda name, line: lines.append((name, line)))  # fmt: skip
    jobs = run.run()
    assert {job.state for job in jobs.values()} == {"succeeded"}
    assert ("second", "42") in lines
    bill = {line.task: line for line in broker.bill("run").lines}
    assert bill["first"].compute_usd > 0
    assert bill["second"].egress_usd > 0
    assert world.live() == []


@on_sqlite
def test_a_command_that_exits_with_3_fails_with_3_and_its_last_lines(world, broker):
    job = broker.watch(submit(broker, task(run="echo almost; echo no luck >&2; exit 3")).id)
    with pytest.raises(TaskFailed, match="no luck") as caught:
        broker.raise_for(job)
    assert caught.value.exit_code == 3
    assert world.live() == []


@on_sqlite
def test_missing_capacity_leads_elsewhere(world, broker):
    one = task(resources={"use_spot": True})
    plan = broker.plan("run", Pipeline(name="p", tasks=(one,)))
    placement = plan.placements["work"]
    world.control.capacity(placement.zone, placement.instance_type, "spot", 0)
    job = broker.watch(submit(broker, one).id)
    assert job.state == "succeeded"
    outcomes = [(c.outcome, c.zone) for c in broker.store.clusters(job_id=job.id)]
    assert outcomes[0] == ("capacity", placement.zone)
    assert outcomes[-1][0] == "succeeded"
    assert outcomes[-1][1] != placement.zone


@on_sqlite
def test_where_all_spot_is_sold_out_on_demand_is_asked_for_soon(world, broker):
    world.control.capacity("us-east-1", "*", "spot", 0)
    needs = {"cpus": "4+", "memory": "8+", "any_of": [{"use_spot": True}, {"use_spot": False}], "instance_type": None}
    job = broker.watch(submit(broker, task(resources=needs)).id)
    assert job.state == "succeeded"
    tried = broker.store.clusters(job_id=job.id)
    assert [cluster.use_spot for cluster in tried[-2:]] == [True, False]
    assert len(tried) < 25, "three kinds in three zones or so, not all of two hundred"


@on_sqlite
def test_a_sudden_death_is_survived_from_the_last_checkpoint(world, broker):
    script = """
    i=$(cat "$SKY_CHECKPOINT_DIR/i" 2>/dev/null || echo 0); echo from $i
    while [ $i -lt 30 ]; do i=$((i+1)); echo $i > "$SKY_CHECKPOINT_DIR/i.tmp"; mv "$SKY_CHECKPOINT_DIR/i.tmp" "$SKY_CHECKPOINT_DIR/i"; echo step $i; sleep 0.2; done
    """  # noqa: E501
    job = submit(broker, task(run=script, resources={"use_spot": True}, checkpoint="3m"))
    until(lambda: b"step 12\n" in broker.store.log(job.id))
    assert world.control.preempt(tags={"skyloom-job": job.id}, notice_s=0)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    log = broker.store.log(job.id).decode()
    resumed = [int(line.removeprefix("from ")) for line in log.splitlines() if line.startswith("from ")]
    assert resumed[0] == 0
    assert resumed[-1] > 0
    newest = Plan.model_validate_json(broker.store.plan_versions(job.plan_key)[-1])
    assert newest.reason != "first plan"
    assert 0 < newest.placements[job.task].done < 1, "what the checkpoint holds is not planned again"
    assert len(world.launches(job.id)) == 2


def test_a_killed_driver_is_replaced_without_a_second_launch(world, broker):
    job = submit(broker, task(run="for i in $(seq 40); do echo tick $i; sleep 0.2; done"))
    until(lambda: b"tick 5\n" in broker.store.log(job.id))
    (driver,) = drivers(broker)
    os.kill(driver.pid, signal.SIGKILL)
    job = broker.watch(job.id)
    assert job.state == "succeeded"
    log = broker.store.log(job.id).decode().splitlines()
    assert [line for line in log if line.startswith("tick")] == [f"tick {n}" for n in range(1, 41)], "once, in order"
    assert len(world.launches(job.id)) == 1


def test_cancel_takes_the_machine_down(world, broker):
    job = submit(broker, task(run="sleep 600"))
    until(lambda: broker.job(job.id).memory.get("phase") == "running")
    assert broker.cancel(job.id, "enough")
    job = broker.watch(job.id)
    with pytest.raises(JobCancelled, match="enough"):
        broker.raise_for(job)
    assert world.live() == []


@on_sqlite
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the terminal is gone")])
def test_a_run_that_is_left_before_its_end_leaves_nothing_running(world, broker, error):
    def tell(name, line):
        raise error

    long = task(run="echo begun; sleep 600")
    with pytest.raises(type(error)):
        PipelineRun(broker, "run", Pipeline(name="p", tasks=(long,)), lambda *_: None, tell).run()
    until(lambda: not broker.store.jobs(live=True))
    assert [job.state for job in broker.store.jobs()] == ["cancelled"]
    assert world.live() == []


@on_sqlite
def test_gc_finds_what_no_record_knows(world, broker):
    from sky_core.clouds import connect

    cloud = connect("aws", broker.settings)
    (stray,) = cloud.launch(request("sky-stray-1", tags={"skyloom": broker.store.id, "skyloom-cluster": "sky-stray-1"}))
    assert [orphan.id for orphan in collect(broker.settings, broker.store, terminate=False).orphans] == [stray.id]
    collect(broker.settings, broker.store, terminate=True)
    until(lambda: not world.live())
