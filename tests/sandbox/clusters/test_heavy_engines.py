"""The engines that are too heavy for the suite, with their real releases: each is skipped where it is not installed.

CONTRIBUTING.md says how to have them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib.util import find_spec

import pytest

from sky_core import Checkpoint, Resources, Task
from tests.sandbox.clusters.jobs import job
from tests.sandbox.driving import home_of
from tests.sandbox.lab import Lab

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 1 / 3600}
NODES = 2
PATH = os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])
TYPES = {"aws": "m5.large", "gcp": "n2-standard-2", "azure": "Standard_D2s_v5"}

TORCH = """
import os, torch, torch.distributed as dist
dist.init_process_group("gloo")
mine = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(mine)
print("rank", dist.get_rank(), "of", dist.get_world_size(), "on", os.environ["SKY_NODE_RANK"], "sum", mine.item())
dist.destroy_process_group()
"""
MPI = """
import os
from mpi4py import MPI
world = MPI.COMM_WORLD
said = f"rank {world.rank} of {world.size} on {os.environ['SKY_NODE_RANK']} sum {world.allreduce(world.rank + 1)}"
os.write(1, f"{said}\\n".encode())  # mpirun mixes what comes in pieces
"""
JAX = """
import jax
jax.distributed.initialize()
print("process", jax.process_index(), "of", jax.process_count(), "devices", jax.device_count())
"""
RAY = """
import os, ray
ray.init()

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Counter:
    def __init__(self):
        self.sum = 0
    def add(self, number):
        self.sum += number
        return self.sum, os.environ["SKY_NODE_RANK"]

counters = [Counter.remote() for _ in range(4)]
for number in range(10):
    answers = ray.get([counter.add.remote(number) for counter in counters])
print("sums", sorted({total for total, _ in answers}), "ranks", sorted({rank for _, rank in answers}))
"""
SPARK = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
print("master", spark.sparkContext.master.partition(":")[0])
words = spark.sparkContext.parallelize(["a b", "b c", "b"] * 100, 8).flatMap(str.split)
print("counts", sorted(words.map(lambda word: (word, 1)).reduceByKey(lambda one, two: one + two).collect()))
spark.stop()
"""
DATAFRAME = """
import pandas
from dask import dataframe
from distributed import Client

if __name__ == "__main__":
    client = Client()
    numbers = dataframe.from_pandas(pandas.DataFrame({"key": list("abcd") * 250, "value": range(1000)}), npartitions=8)
    print("sums", numbers.groupby("key").value.sum().compute().sort_index().tolist(), "on", len(client.nthreads()))
"""
SAME = {
    "torchrun": ({"name": "torchrun", "processes": 1}, TORCH, r"rank 3 of 4 on 3 sum 10.0"),
    "dask": ({"name": "dask", "threads": 1}, DATAFRAME, r"sums \[124500, 124750, 125000, 125250\] on 4"),
    "mpi": ({"name": "mpi", "processes": 1}, MPI, r"rank 3 of 4 on 3 sum 10"),
    "ray": ({"name": "ray", "num_cpus": 1}, RAY, r"sums \[45\] ranks \['0', '1', '2', '3'\]"),
    "spark": (
        {"name": "spark", "cores": 1, "memory": "1g", "conf": {"spark.executor.memory": "600m"}},
        SPARK,
        r"counts \[\('a', 100\), \('b', 300\), \('c', 100\)\]",
    ),
}
PACKAGES = {"torchrun": "torch", "dask": "pyarrow", "mpi": "mpi4py", "ray": "ray", "spark": "pyspark"}


def script(text: str) -> str:
    return f"cat > main.py <<'END'\n{text}\nEND\nexec python3 main.py"


@pytest.fixture(scope="module")
def machines(park):
    return [park.boot() for _ in range(NODES)]


def needs(*packages):
    lacking = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")


def said(state, pattern):
    assert (state.phase, state.exit_code) == ("done", 0), state.log.decode()
    return sorted(re.findall(pattern, state.log.decode()))


@needs("torch")
def test_torchrun(park, machines):
    state = park.run(machines, job(machines, {"name": "torchrun", "processes": 2}, run=script(TORCH)))
    assert said(state, r"rank (\d) of 4 on (\d) sum 10.0") == [("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]


@needs("mpi4py")
@pytest.mark.skipif(shutil.which("mpirun", path=os.path.dirname(sys.executable)) is None, reason="no mpirun")
def test_mpi(park, machines):
    about = job(machines, {"name": "mpi", "processes": 2}, run=script(MPI), gang_key=park.host_key("mpi"))
    assert said(park.run(machines, about), r"rank (\d) of 4 on (\d) sum 10") == [
        ("0", "0"), ("1", "0"), ("2", "1"), ("3", "1")]  # fmt: skip


@needs("jax")
def test_jax(park, machines):
    state = park.run(machines, job(machines, "jax", run=script(JAX), envs={"JAX_PLATFORMS": "cpu"}))
    assert said(state, r"process (\d) of 2 devices 2") == ["0", "1"]


@needs("ray")
def test_ray(park, machines):
    state = park.run(machines, job(machines, {"name": "ray", "num_cpus": 2}, run=script(RAY)))
    assert said(state, r"sums \[45\] ranks \['0', '1'\]")


@needs("pyspark")
@pytest.mark.skipif(shutil.which("java") is None, reason="no Java")
def test_spark(park, machines):
    about = {"name": "spark", "cores": 1, "memory": "1g", "conf": {"spark.executor.memory": "600m"}}
    state = park.run(machines, job(machines, about, run=script(SPARK)))
    assert said(state, r"counts \[\('a', 100\), \('b', 300\), \('c', 100\)\]")
    assert said(state, r"master spark")


def same(engine, **wanted):
    """The task of that engine on four machines; skipped where the engine is not installed."""
    if find_spec(PACKAGES[engine]) is None or (engine == "spark" and shutil.which("java") is None):
        pytest.skip(f"{engine} is not installed")
    about, text, _ = SAME[engine]
    return Task(name="gang", run=script(text), num_nodes=4, hours=0.1, engine=about, envs={"PATH": PATH},
                resources=Resources(**wanted))  # fmt: skip


def check(home, engine, done):
    log = home.store.log(done.id).decode()
    assert (done.state, done.result["exit_code"]) == ("succeeded", 0), log
    assert re.search(SAME[engine][2], log), log


@pytest.mark.parametrize("cloud", TYPES)
@pytest.mark.parametrize("engine", SAME)
def test_the_same_task_on_four_machines_of_each_cloud(world, tmp_path, engine, cloud):
    with home_of(world, tmp_path) as home:
        (done,) = home.drive(home.submit(same(engine, cloud=cloud, instance_type=TYPES[cloud])))
        check(home, engine, done)


@pytest.mark.parametrize("engine", SAME)
def test_the_same_task_on_four_machines_of_ones_own(world, park, tmp_path, engine):
    task = same(engine, cloud="lab")
    lab = Lab(park, tmp_path, hosts=4)
    try:
        with lab.home(world) as home:
            (done,) = home.drive(home.submit(task))
            check(home, engine, done)
    finally:
        for machine in lab.machines:
            park.kill(machine)


TRAIN = """
import os, pathlib, time, torch, torch.distributed as dist
dist.init_process_group("gloo")
kept = pathlib.Path(os.environ["SKY_CHECKPOINT_DIR"]) / "sum"
steps, total = map(int, kept.read_text().split()) if kept.exists() else (0, 0)
print("from", steps, flush=True)
while steps < 30:
    mine = torch.tensor([steps * (dist.get_rank() + 1)])
    dist.all_reduce(mine)
    steps, total = steps + 1, total + int(mine)
    if dist.get_rank() == 0:
        new = kept.with_suffix(".tmp")
        new.write_text(f"{steps} {total}")
        new.replace(kept)
    time.sleep(0.5)
print("total", total, flush=True)
"""


@needs("torch")
def test_a_training_whose_machine_is_killed_goes_on_from_its_checkpoint(world, tmp_path):
    wanted = Resources(cloud="aws", instance_type=TYPES["aws"])
    task = Task(name="train", run=script(TRAIN), num_nodes=4, hours=0.1, engine="torchrun", envs={"PATH": PATH},
                resources=wanted, checkpoint=Checkpoint(interval=0.5 / 3600))  # fmt: skip
    with home_of(world, tmp_path) as home:
        job = home.submit(task)
        home.drive(job, stop=lambda: home.store.job(job.id).memory.get("checkpoint"))
        (cluster,) = home.store.clusters(job_id=job.id)
        name = cluster.instance_ids[2].rpartition("/")[2]
        (third,) = (m["id"] for m in world.control.machines(live=True) if m["id"].rpartition("/")[2] == name)
        world.control.kill(third)
        (done,) = home.drive(job)
        log = home.store.log(done.id).decode()
        assert (done.state, done.attempt) == ("succeeded", 2), log
        begun = re.findall(r"\(rank \d\) from (\d+)", log)
        assert begun[:4] == ["0"] * 4
        assert len(set(begun[4:])) == 1, "all from the same step"
        assert int(begun[4]) > 0
        assert re.findall(r"\(rank (\d)\) total 4350", log) == ["0", "1", "2", "3"]


@needs("pyspark")
@pytest.mark.parametrize(("cloud", "region"), [("aws", "us-east-1"), ("gcp", "us-central1")])
def test_a_service_s_cluster_runs_the_same_count(sandbox, tmp_path, cloud, region):
    """Of Hadoop there is nothing in the sandbox: the first machine counts alone."""
    run = script(SPARK).replace("exec python3", "exec spark-submit")
    resources = Resources(managed="spark", cloud=cloud, region=region, cpus=4)
    with home_of(sandbox, tmp_path) as home:
        job = home.submit(Task(name="count", run=run, hours=0.1, num_nodes=3, resources=resources))
        (done,) = home.drive(job)
        log = home.store.log(job.id).decode()
    assert done.state == "succeeded", log
    assert "counts [('a', 100), ('b', 300), ('c', 100)]" in log
    assert sandbox.live() == []
