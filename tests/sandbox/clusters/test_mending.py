"""A worker's machine dies in the middle: another takes its place, and each is billed as it lived."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import pytest

from sky_core import Resources, Task
from sky_core.config import Limits
from sky_core.driver.gangs import mending
from sky_core.driver.stages import running
from tests.conftest import until
from tests.crash import judge
from tests.sandbox.driving import Home, driven_by_mortals, home_of

pytestmark = pytest.mark.slow
HOURS_PER_SECOND = 1 / 3600
SANDBOX = {"hours_per_second": HOURS_PER_SECOND, "boot_s": 1.0}
NODES = 3
TYPES = {"aws": "t3.small", "gcp": "n2-standard-2", "azure": "Standard_D2s_v5"}
# Goes on only once a machine that was not there in the beginning has joined, and says what all have computed.
DASK = f"""
cat > main.py <<'END'
import os, subprocess, time
from distributed import Client

def square(number):
    time.sleep(0.05)
    return number * number

if __name__ == "__main__":
    client = Client()
    first = set(client.scheduler_info(n_workers=-1)["workers"])
    futures = client.map(square, range(300))
    print("begun", flush=True)
    while len(set(client.scheduler_info(n_workers=-1)["workers"]) | first) == len(first):
        time.sleep(0.2)
    client.wait_for_workers({NODES})
    print("sum", sum(client.gather(futures)))
    ranks = client.run(lambda: os.environ["SKY_NODE_RANK"])
    print("ranks", sorted(ranks.values()))
    there = lambda *command: subprocess.run([*command], capture_output=True, text=True).stdout.split()
    print("new to old", there("ssh", "node-1", "ssh node-2 ssh node-0 echo through"))
    print("listed", there("cat", os.environ["SKY_HOSTFILE"])[1] == there("ssh", "node-1", "echo $SSH_CONNECTION")[2])
END
exec python3 main.py
"""


RAY = f"""
cat > main.py <<'END'
import time, ray
ray.init()
alive = lambda: {{node["NodeID"] for node in ray.nodes() if node["Alive"]}}

@ray.remote(num_cpus=1, max_retries=-1)
def square(number):
    time.sleep(0.05)
    return number * number

first = alive()
references = [square.remote(number) for number in range(300)]
print("begun", flush=True)
while alive() <= first:
    time.sleep(0.2)
while len(alive()) < {NODES}:
    time.sleep(0.2)
print("sum", sum(ray.get(references)))
END
exec python3 main.py
"""


def task(cloud: str, *, use_spot: bool = False, **about: object) -> Task:
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])
    what = {"run": DASK, "engine": {"name": "dask", "threads": 1}, **about}
    wanted = Resources(cloud=cloud, instance_type=TYPES[cloud], use_spot=use_spot)
    return Task(name="gang", num_nodes=NODES, hours=0.1, envs={"PATH": path}, resources=wanted, **what)


def begun(home: Home, job) -> bool:
    return b"begun" in home.store.log(job.id)


def machine_of(world, home: Home, job, rank: int) -> str:
    """The sandbox's id of a machine of the gang."""
    (cluster,) = (one for one in home.store.clusters(job_id=job.id) if one.num_nodes == NODES)
    name = cluster.instance_ids[rank].rpartition("/")[2]
    (found,) = (m["id"] for m in world.control.machines(live=True) if m["id"].rpartition("/")[2] == name)
    return found


def check_bill(world, home: Home, job) -> None:
    """Nothing is left, and the bill is the ledger's."""
    tags = {"skyloom-job": job.id}
    until(lambda: world.control.ledger(open_only=True, tags=tags) == [])
    hours = sum(line.hours for line in home.broker.bill("run").lines)
    assert judge.misbilled(world.control.ledger(tags=tags), hours, HOURS_PER_SECOND) == []
    assert [one for one in home.store.clusters(job_id=job.id) if one.open] == []


def stories(home: Home, job) -> list[str]:
    return [event.kind for event in home.store.events(job.id) if event.kind in ("node lost", "node joined")]


def check_mended(world, home: Home, job) -> None:
    """Driven to its end, it has the right result from one attempt, with one machine in the place of another."""
    (job,) = home.drive(job)
    log = home.store.log(job.id)
    assert (job.state, job.attempt) == ("succeeded", 1), (home.store.events(job.id), log.decode())
    assert b"(rank 0) sum 8955050\n" in log
    assert stories(home, job) == ["node lost", "node joined"]
    check_bill(world, home, job)


@pytest.mark.parametrize("cloud", TYPES)
def test_a_lost_worker_is_replaced_while_the_command_goes_on(world, tmp_path, cloud):
    with home_of(world, tmp_path) as home:
        job = home.submit(task(cloud))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 1))
        (job,) = home.drive(job)
        log = home.store.log(job.id)
        assert (job.state, job.result["exit_code"]) == ("succeeded", 0), (home.store.events(job.id), log.decode())
        assert b"(rank 0) sum 8955050\n" in log
        assert b"(rank 0) ranks ['0', '1', '2']\n" in log
        assert b"(rank 0) new to old ['through']\n(rank 0) listed True\n" in log, log.decode()
        assert job.attempt == 1
        assert stories(home, job) == ["node lost", "node joined"]
        check_bill(world, home, job)


def test_a_worker_that_its_cloud_takes_back_with_notice_is_replaced(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws", use_spot=True))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.preempt(machine_of(world, home, job, 1), notice_s=4.0)
        (job,) = home.drive(job)
        assert (job.state, job.attempt) == ("succeeded", 1), (home.store.events(job.id), home.store.log(job.id))
        assert stories(home, job) == ["node lost", "node joined"]
        check_bill(world, home, job)


def test_a_worker_that_hangs_is_replaced_while_the_command_goes_on(world, tmp_path, monkeypatch):
    for name, seconds in (("LINK_TIMEOUT_S", 3.0), ("LOOK_S", 2.0), ("LONG_LOOK_S", 2.0)):
        monkeypatch.setattr(running, name, seconds)
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws"))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.hang(machine_of(world, home, job, 1))
        check_mended(world, home, job)


@pytest.mark.skipif(find_spec("ray") is None, reason="not installed: ray")
@pytest.mark.parametrize("cloud", TYPES)
def test_ray_goes_on_with_another_worker(world, tmp_path, cloud):
    with home_of(world, tmp_path) as home:
        job = home.submit(task(cloud, engine={"name": "ray", "num_cpus": 1}, run=RAY))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 1))
        check_mended(world, home, job)


@pytest.mark.parametrize("cloud", TYPES)
def test_drivers_that_die_at_every_step_of_a_mending_launch_no_second_machine(world, tmp_path, cloud):
    with home_of(world, tmp_path) as home:
        job = home.submit(task(cloud))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 2))
        driven_by_mortals(home, job, lambda: "node joined" in stories(home, job))
        (job,) = home.drive(job, driving=home.new_driving())
        assert (job.state, job.attempt) == ("succeeded", 1), home.store.events(job.id)
        assert stories(home, job) == ["node lost", "node joined"]
        assert len(world.launches(job.id)) == NODES + 1
        check_bill(world, home, job)


def test_a_lost_reply_to_the_launch_makes_no_second_machine(world, tmp_path, monkeypatch):
    monkeypatch.setattr(mending, "AGAIN_HOURS", 2 / 3600)  # not a minute
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws"))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.fault("aws", "RunInstances", "lost", code="InternalError", times=4)
        world.control.kill(machine_of(world, home, job, 1))
        home.drive(job, stop=lambda: any(c.mends for c in home.store.clusters(job_id=job.id, open_only=True)))
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "succeeded", home.store.events(job.id)
        assert len(world.launches(job.id)) == NODES + 1
        check_bill(world, home, job)


def test_a_job_that_is_cancelled_while_it_is_mended_leaves_nothing(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("gcp"))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 1))
        launched = lambda: any(c.mends and c.state == "launched" for c in home.store.clusters(job_id=job.id))  # noqa: E731
        home.drive(job, stop=launched)
        home.broker.cancel(job.id, "enough")
        (job,) = home.drive(job, driving=home.new_driving())
        assert job.state == "cancelled"
        check_bill(world, home, job)


def test_a_machine_that_a_limit_forbids_is_not_launched(world, tmp_path, monkeypatch):
    monkeypatch.setattr(mending, "AGAIN_HOURS", 2 / 3600)  # not a minute
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws"))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 1))
        poor = home.settings.model_copy(update={"limits": Limits(usd_per_job=1e-4)})
        limits = lambda: [event for event in home.store.events(job.id) if event.kind == "limit"]  # noqa: E731
        home.drive(job, driving=home.new_driving(poor), stop=lambda: bool(limits()))
        assert "usd_per_job" in str(limits()[0])
        assert home.store.job(job.id).state == "running", "the others go on"
        assert len(world.launches(job.id)) == NODES
        (job,) = home.drive(job, driving=home.new_driving())
        assert (job.state, stories(home, job)) == ("succeeded", ["node lost", "node joined"])
        check_bill(world, home, job)


SHORT = f"""
cat > main.py <<'END'
import time
from distributed import Client
if __name__ == "__main__":
    client = Client()
    print("begun", flush=True)
    while len(client.scheduler_info(n_workers=-1)["workers"]) == {NODES}:
        time.sleep(0.2)
    time.sleep(2)
    print("end with", len(client.scheduler_info(n_workers=-1)["workers"]))
END
exec python3 main.py
"""


def test_a_gang_that_stays_short_of_a_machine_is_heard_to_its_end(world, tmp_path, monkeypatch):
    monkeypatch.setattr(mending, "AGAIN_HOURS", 0.0)  # as on a sandbox's fast clock
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws", run=SHORT))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 1))
        poor = home.settings.model_copy(update={"limits": Limits(usd_per_job=1e-4)})
        (job,) = home.drive(job, driving=home.new_driving(poor))
        assert (job.state, stories(home, job)) == ("succeeded", ["node lost"])
        assert b"(rank 0) end with 2\n" in home.store.log(job.id)
        assert len(world.launches(job.id)) == NODES
        check_bill(world, home, job)


def test_two_lost_workers_are_replaced_though_one_of_the_new_ones_never_answers(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws", run=DASK.replace(f"wait_for_workers({NODES})", f"wait_for_workers({NODES - 1})")))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.fault("aws", "boot", "mute", times=1)
        for rank in (1, 2):
            world.control.kill(machine_of(world, home, job, rank))
        home.drive(job, stop=lambda: "node joined" in stories(home, job))
        assert stories(home, job) == ["node lost", "node lost", "node joined"]
        assert len(home.driving.knock_at) == 1, "the one that is mute"
        home.broker.cancel(job.id, "seen enough")
        home.drive(job)
        assert home.driving.knock_at == {}
        check_bill(world, home, job)


def test_rank_0_is_not_replaced(world, tmp_path):
    with home_of(world, tmp_path) as home:
        job = home.submit(task("aws"))
        home.drive(job, stop=lambda: begun(home, job))
        world.control.kill(machine_of(world, home, job, 0))
        home.drive(job, stop=lambda: home.store.job(job.id).attempt == 2)
        home.broker.cancel(job.id, "enough")
        home.drive(job)
        assert stories(home, job) == []
        check_bill(world, home, job)
