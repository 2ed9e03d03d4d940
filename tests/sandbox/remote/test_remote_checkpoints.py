"""Checkpoints on real machines: kept, restored, never half; evictions, orphans and sudden deaths."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from urllib.parse import quote

import fsspec
import pytest

from sky_core.errors import LinkLost
from sky_core.remote.artifacts import fetch, resolve
from sky_core.remote.executor import JobRequest
from sky_core.ssh.link import Link
from tests.sandbox.loopback import store_options
from tests.sandbox.park import BUCKET, ZONES

numbers = itertools.count(1)

# Counts on from the checkpoint, written in two parts that must agree, so that a torn checkpoint is seen.
TRAIN = """
cd $SKY_CHECKPOINT_DIR
i=$(head -n 1 step 2>/dev/null || echo 0)
[ "$i" = "$(tail -n +2 step 2>/dev/null || echo 0)" ] || { echo TORN; exit 9; }
echo from $i
while [ $i -lt LAST ]; do
  i=$((i + 1)); echo $i > step.tmp; sleep PAUSE; echo $i >> step.tmp; mv step.tmp step
  echo step $i
done
echo $i > $SKY_OUTPUT_MODEL
"""


def train(last=1000, pause=0.02):
    return TRAIN.replace("LAST", str(last)).replace("PAUSE", str(pause))


def request(endpoint, kind="s3", **about):
    name = f"train-{next(numbers)}"
    fields = {
        "job_id": name,
        "attempt": 1,
        "cloud": "aws",
        "run": train(),
        "outputs": {"model": f"{BUCKET[kind]}/models/{name}"},
        "checkpoint_url": f"{BUCKET[kind]}/checkpoints/{name}",
        "checkpoint_interval_s": 0.3,
        "storage_options": store_options(endpoint),
    }
    return JobRequest(**{**fields, **about})


def again(job, **changes):
    return JobRequest(**{**vars(job), "attempt": job.attempt + 1, **changes})


def saved(state):
    return (state.checkpoint_generation or 0) >= 2


@pytest.mark.parametrize("kind", ["s3", "gs", "abfs"])
def test_a_job_goes_on_from_the_newest_generation(park, endpoint, kind):
    machine = park.boot()
    job = request(endpoint, kind)
    park.executor.start([machine], job)
    park.follow(machine, job, saved)
    park.kill(machine)
    second = again(job, run=train(30))
    state = park.run(park.boot(), second)
    assert state.exit_code == 0
    assert state.restored_generation >= 2
    assert state.restored_bytes > 0
    first_line = next(line for line in state.log.decode().splitlines() if line.startswith("from"))
    assert int(first_line.split()[1]) > 0
    assert resolve(job.outputs["model"], job.storage_options).size > 0


def test_only_the_last_ones_are_kept(park, endpoint):
    job = request(endpoint, checkpoint_keep=2, run=train(100000), checkpoint_interval_s=0.1)
    machine = park.boot()
    park.executor.start([machine], job)
    park.follow(machine, job, lambda state: (state.checkpoint_generation or 0) > 3)
    park.executor.leave([machine], job.job_id, 1, 5.0)
    state = park.follow(machine, job)
    store = fsspec.filesystem("s3", **job.storage_options["s3"])
    assert len(store.ls(f"{job.checkpoint_url}/generations", refresh=True)) == 2
    assert len(store.ls(f"{job.checkpoint_url}/data", refresh=True)) == 2
    latest = json.loads(store.cat_file(f"{job.checkpoint_url}/latest.json"))
    assert latest["generation"] == state.checkpoint_generation


def test_a_damaged_generation_is_skipped_with_a_word(park, endpoint):
    machine = park.boot()
    job = request(endpoint, run=train(40, 0.05))
    assert park.run(machine, job).exit_code == 0
    store = fsspec.filesystem("s3", **job.storage_options["s3"])
    newest = max(store.ls(f"{job.checkpoint_url}/data", refresh=True))
    store.pipe_file(f"{newest}/step", b"nonsense")
    state = park.run(machine, again(job, run=train(0)))
    assert f"checkpoint skipped: generation {int(newest[-8:])} of attempt 1".encode() in state.log
    assert state.restored_generation == int(newest[-8:]) - 1


def test_checkpoints_of_another_cloud_are_restored(park, endpoint):
    machine = park.boot()
    job = request(endpoint, "s3", run=train(20, 0.05))
    assert park.run(machine, job).exit_code == 0
    moved = again(job, run="cat $SKY_CHECKPOINT_DIR/step", outputs={}, checkpoint_url="gs://jobs/checkpoints/moved")
    assert park.run(machine, moved).restored_generation is None
    moved = again(moved, restore_urls=[job.checkpoint_url])
    state = park.run(machine, moved)
    assert state.restored_generation is not None
    assert state.log.splitlines()[-1].isdigit()


def test_an_unchanged_checkpoint_is_not_sent_again(park, endpoint):
    job = request(endpoint, run="echo 1 > $SKY_CHECKPOINT_DIR/x; sleep 1.5", outputs={}, checkpoint_interval_s=0.1)
    assert park.run(park.boot(), job).checkpoint_generation == 1


def test_a_file_open_for_writing_is_left_alone(park, endpoint):
    script = "exec 3> $SKY_CHECKPOINT_DIR/x; echo half >&3; sleep 1; echo whole >&3; exec 3>&-; sleep 1.5"
    job = request(endpoint, run=script, outputs={}, checkpoint_interval_s=0.1)
    machine = park.boot()
    assert park.run(machine, job).checkpoint_generation == 1
    assert park.run(machine, again(job, run="cat $SKY_CHECKPOINT_DIR/x")).log.endswith(b"half\nwhole\n")


@pytest.mark.slow
def test_a_store_that_cannot_be_read_is_no_reason_to_begin_anew(park, endpoint):
    options = store_options("http://127.0.0.1:9")
    job = request(endpoint, run="echo never", outputs={}, storage_options=options)
    job = JobRequest(**{**vars(job), "checkpoint_url": "s3://jobs/unreadable", "publish_patience_s": 1.0})
    state = park.run(park.boot(), job)
    assert (state.phase, state.exit_code) == ("done", None)
    assert b"never" not in state.log


@pytest.mark.parametrize("cloud", list(ZONES))
def test_an_eviction_leaves_a_last_checkpoint(park, endpoint, cloud):
    machine = park.boot(cloud)
    graceful = (
        "save() { test -e $SKY_EVICTION_FILE && echo saved > final.tmp && mv final.tmp final; exit 0; }; "
        "trap save TERM; cd $SKY_CHECKPOINT_DIR; echo 1 > early; while true; do sleep 0.05; done"
    )
    job = request(endpoint, run=graceful, outputs={}, cloud=cloud, checkpoint_interval_s=100)
    park.executor.start([machine], job)
    park.follow(machine, job, lambda state: state.phase == "running")
    time.sleep(0.5)
    park.evict(machine, 30)
    state = park.follow(machine, job)
    assert (state.phase, state.exit_code, state.detail) == ("done", None, "eviction")
    assert (state.eviction, state.last_checkpoint, state.checkpoint_generation) == (True, True, 1)
    script = "cat $SKY_CHECKPOINT_DIR/final $SKY_CHECKPOINT_DIR/early"
    assert park.run(park.boot(), again(job, run=script)).log.endswith(b"saved\n1\n")


def test_a_job_that_dies_of_the_eviction_while_writing_keeps_its_older_checkpoint(park, endpoint):
    script = "cd $SKY_CHECKPOINT_DIR; echo good > x; sleep 1; exec 3> x; echo torn >&3; touch ~/writing; sleep 100"
    machine = park.boot()
    job = request(endpoint, run=script, outputs={}, checkpoint_interval_s=0.2)
    park.executor.start([machine], job)
    while not (park.folder(machine) / "writing").exists():
        time.sleep(0.05)
    park.evict(machine, 20)
    state = park.follow(machine, job)
    assert (state.eviction, state.last_checkpoint, state.checkpoint_generation) == (True, False, 1)
    assert park.run(park.boot(), again(job, run="cat $SKY_CHECKPOINT_DIR/x")).log.endswith(b"good\n")


def test_an_orphan_saves_its_work_and_halts_its_machine(park, endpoint):
    machine = park.boot()
    job = request(endpoint, run=train(100000), outputs={}, checkpoint_interval_s=100, orphan_ttl_s=2)
    park.executor.start([machine], job)
    park.follow(machine, job, lambda state: state.phase == "running")
    for _ in range(15):  # while somebody asks, it lives
        time.sleep(0.2)
        assert park.executor.poll([machine], job.job_id, 1, [0]).phase == "running"
    deadline = time.monotonic() + 60
    while True:
        time.sleep(5)  # asking more often would keep it alive
        try:
            Link(machine, park.keys).run("true")
        except LinkLost:
            break
        assert time.monotonic() < deadline, "the machine still runs"
    state = park.run(park.boot(), again(job, run="cat $SKY_CHECKPOINT_DIR/step"))
    assert state.restored_generation == 1


def test_a_gang_s_first_node_keeps_the_checkpoints_and_all_restore_them(park, endpoint):
    machines = [park.boot(), park.boot()]
    steps = "for i in 1 2 3; do echo $SKY_NODE_RANK-$i > $SKY_CHECKPOINT_DIR/x; sleep 0.5; done"
    job = request(
        endpoint,
        run=f"sleep $SKY_NODE_RANK; {steps}; sleep 3",
        outputs={},
        checkpoint_interval_s=0.1,
        node_ips=["a", "b"],
    )
    assert park.run(machines, job).exit_code == 0
    second = again(job, run="cat $SKY_CHECKPOINT_DIR/x > ~/restored; sleep 0.5")
    state = park.run(machines, second)
    assert b"skipped" not in state.log
    for machine in machines:
        assert (park.folder(machine) / "restored").read_text() == "0-3\n"


@pytest.mark.slow
def test_killed_at_random_moments_nothing_half_is_ever_taken_for_whole(park, endpoint, tmp_path):
    """The machine, the agent or the process that moves data dies; the job still ends with the right result."""
    chance = random.Random(4711)
    big = "head -c 3000000 /dev/urandom > ../big; mv ../big big; echo step $i"
    script = train(150, 0.03).replace("echo step $i", big)
    job = request(endpoint, run=script, checkpoint_interval_s=0.1)
    restored = []
    for _ in range(12):
        machine = park.boot()
        park.executor.start([machine], job)
        victim = chance.choice(["machine", "agent", "transfer", "transfer"])
        moment = chance.uniform(0.3, 3.0)
        killer = threading.Timer(moment, kill, [park, machine, job, victim])
        killer.start()
        try:
            state = park.follow(machine, job)
        except LinkLost:
            state = None
        killer.join()
        found = resolve(job.outputs["model"], job.storage_options)
        assert (found is not None) == (state is not None and state.exit_code == 0)
        if state is not None:
            assert b"TORN" not in state.log
            assert b"skipped" not in state.log
            restored.append(state.restored_generation or 0)
        park.kill(machine)
        if found is not None:
            break
        job = again(job)
    else:
        state = park.run(park.boot(), job)
        assert state.exit_code == 0, state.log
    options = job.storage_options
    assert fetch(job.outputs["model"], tmp_path, options).read_bytes() == b"150\n"
    assert restored == sorted(restored)


def kill(park, machine, job, victim):
    if victim == "machine":
        park.kill(machine)
        return
    link = Link(machine, park.keys)
    folder = f".skyloom/jobs/{quote(job.job_id, safe='')}/{job.attempt}"
    try:
        pid = json.loads(link.run(["cat", f"{folder}/state.json"]))["pid"]
        children = link.run(f"ps -o pid=,args= --ppid {pid}").decode().splitlines()
        transfers = [line.split()[0] for line in children if line.endswith(" transfer")]
        link.run("kill -9 " + " ".join(transfers if victim == "transfer" else [str(pid)]) + " || true")
    except LinkLost:
        pass
    finally:
        link.close()
