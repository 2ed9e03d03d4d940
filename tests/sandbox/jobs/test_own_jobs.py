"""Jobs on machines of one's own, from the plan to the bill: slots, queueing, spill-over, a host that is lost."""

from __future__ import annotations

import fsspec
import pytest

from sky_core import Artifact, Checkpoint, OutputRef, Pipeline, Resources, Task
from sky_core.errors import MachineError
from sky_core.events import read
from sky_core.facts import schemes
from sky_core.remote.artifacts import fetch
from tests.conftest import Sandbox
from tests.sandbox.lab import BUCKET, Lab

WORK = 'echo "$SKY_JOB_ID" > "$SKY_OUTPUT_OUT"'
JOIN = 'cat "$SKY_INPUT_FROM_T0" "$SKY_INPUT_FROM_T1" "$SKY_INPUT_FROM_T2" "$SKY_INPUT_FROM_T3"'
STAYS = """
if [ -e "$SKY_CHECKPOINT_DIR/half" ]; then cp "$SKY_CHECKPOINT_DIR/half" "$SKY_OUTPUT_OUT"; exit; fi
echo done on the host > "$SKY_CHECKPOINT_DIR/half"; echo half; sleep 600
"""


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


def test_four_tasks_share_two_hosts_and_a_cloud_and_others_queue(sandbox: Sandbox, lab: Lab) -> None:
    small = Resources(cpus="2+", memory="2+")
    slow = f"sleep 2; {WORK}"
    four = [Task(name=f"t{n}", run=slow, hours=0.1, resources=small, outputs={"out": Artifact()}) for n in range(4)]
    inputs = {f"from_{task.name}": OutputRef(task=task.name, output="out") for task in four}
    join = Task(name="join", run=JOIN,
                hours=0.1, resources=small, inputs=inputs)  # fmt: skip
    mine = Task(name="mine", run=slow, hours=0.1, resources=Resources(cloud="lab"), outputs={"out": Artifact()})
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, *(len(lab.claims(machine)) for machine in lab.machines))

    with lab.home(sandbox) as home:
        plan = home.broker.plan("run", Pipeline(name="p", tasks=(*four, join)))
        clouds = [plan.placements[task.name].cloud for task in four]
        assert clouds.count("lab") == 2, "the hosts cost nothing, and there are two"
        jobs = [home.submit(task, plan="run") for task in four]
        home.drive(*jobs, stop=lambda: all(lab.claims(machine) for machine in lab.machines))
        # Other runs, which may use the hosts only, wait until one is free: no host is given back before their first
        # step, however slow the computer. Were they first, the four would go elsewhere.
        jobs += [home.submit(mine, key=f"other-{number}") for number in range(2)]
        jobs = home.drive(*jobs, stop=look)
        assert [job.state for job in jobs] == ["succeeded"] * 6, [job.result for job in jobs]
        assert most == 1, "no host ever had more jobs than slots"
        where = [home.store.clusters(job_id=job.id)[-1].cloud for job in jobs]
        assert where[4:] == ["lab", "lab"], "who may use the hosts only waits for them"
        queued = [job for job in jobs if any(event.kind == "queued" for event in home.store.events(job.id))]
        assert queued, "six jobs, two slots"
        assert {job.task for job in queued} == {"mine"}
        given = {name: Artifact(**jobs[n].result["outputs"]["out"]) for n, name in enumerate(inputs)}
        (joined,) = home.drive(home.submit(join.model_copy(update={"inputs": given}), plan="run"))
        assert joined.state == "succeeded", joined.result
        assert home.store.log(joined.id).decode().split() == [job.id for job in jobs[:4]]
    assert sandbox.live() == []
    assert [lab.claims(machine) for machine in lab.machines] == [[], []]


@pytest.mark.parametrize("num_nodes", [1, 2])
def test_a_host_that_is_lost_costs_no_more_than_the_work_since_the_checkpoint(
    sandbox: Sandbox, lab: Lab, monkeypatch: pytest.MonkeyPatch, num_nodes: int
) -> None:
    """Nothing else runs meanwhile: that the other host answers, idle or in the gang, shows that there is a network."""
    monkeypatch.setattr("sky_core.driver.stages.running.LINK_TIMEOUT_S", 1.0)
    monkeypatch.setattr("sky_core.ssh.link.CONNECT_TIMEOUT_S", 1.0)
    small = Resources(cpus="2+", memory="2+")
    long = Task(name="long", run=STAYS, hours=0.1, resources=small, outputs={"out": Artifact()},
                checkpoint=Checkpoint(interval=0.0001), num_nodes=num_nodes)  # fmt: skip
    with lab.home(sandbox, patience=1) as home:
        job = home.submit(long, key="long")
        saved = f"checkpoints/{job.id}/latest.json"
        options = dict(home.driving.clouds["aws"].storage_options())
        bucket = fsspec.filesystem("s3", use_listings_cache=False, **options)
        home.drive(job, stop=lambda: bucket.exists(f"{BUCKET}/{saved}"))
        last = home.store.clusters(job_id=job.id)[-1].instance_ids[-1].partition("/")[0]
        (host,) = (machine for machine in lab.machines if last.endswith(f"{machine.ip}:{machine.port}"))
        lab.park.kill(host)
        (job,) = home.drive(job)
        assert job.state == "succeeded", job.result
        outcomes = [(cluster.cloud, cluster.outcome) for cluster in home.store.clusters(job_id=job.id)]
        assert outcomes[0] == ("lab", "unreachable")
        assert outcomes[-1][1] == "succeeded"
        assert (outcomes[-1][0] == "lab") is (num_nodes == 1), "of two hosts one is left"
        uri = job.result["outputs"]["out"]["uri"]  # wherever it went on
        scheme = uri.partition("://")[0]
        theirs = dict(home.driving.clouds[schemes()[scheme].name].storage_options())
        output = fetch(uri, lab.folder / "fetched", {scheme: theirs})
        assert output.read_text() == "done on the host\n"
    assert sandbox.live() == []


def test_what_a_host_lacks_is_told_while_it_is_waited_for(
    sandbox: Sandbox, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object) -> None:
        raise MachineError("no Python of our own could be brought there")

    monkeypatch.setattr("sky_core.remote.ssh_executor.SshExecutor.start", lacking)
    with lab.home(sandbox) as home:
        job = home.submit(Task(name="t", run="true", hours=0.1, resources=Resources(cloud="lab")))
        home.drive(job, stop=lambda: "not ready" in [event.kind for event in home.store.events(job.id)])
        words = read("not ready", home.store.events(job.id)[-1].data).words()
        assert words.startswith("attempt 1: its machines answer, and are waited for: no Python of our own")
        home.broker.cancel(job.id, "end of test")
        home.drive(job)
