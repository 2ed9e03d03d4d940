"""A cluster that a program elsewhere works with: up within a block, reached through one port, gone however it is left.

The judge is the clouds' own ledger.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import uv
from distributed import Client

from sky_core import Resources
from sky_core.broker import Broker
from sky_core.broker.clusters.held import HeldCluster
from sky_core.broker.clusters.stay import cluster_task
from sky_core.errors import SpecError, TaskFailed
from sky_sandbox.client import down
from tests.conftest import start_sandbox, until

pytestmark = pytest.mark.slow
SMALL = Resources(cloud="aws", instance_type="t3.small")
DASK = {"name": "dask", "threads": 1}
NODES = 2
ROOT = Path(__file__).parents[3]


def held(world, **fields):
    said: list[str] = []
    about = {"engine": DASK, "num_nodes": NODES, "environment": None, "resources": SMALL, **fields}
    cluster = HeldCluster(cluster_task("c", **about), lambda: Broker.open(world.settings), say=said.append)
    return cluster, said


def ranks(client):
    return sorted(client.run(lambda: os.environ["SKY_NODE_RANK"]).values())


def paid(world):
    """Machines that the ledger still bills."""
    return [line for line in world.control.ledger() if line["kind"] == "machine" and line["ended"] is None]


def job_of(world, cluster):
    return Broker.open(world.settings).job(cluster.job_id)


def head_of(world, cluster):
    """The machine of rank 0, without which the cluster has to begin anew."""
    (made,) = Broker.open(world.settings).store.clusters(job_id=cluster.job_id)
    (found,) = [one for one in world.live() if one.rpartition("/")[2] == made.instance_ids[0].rpartition("/")[2]]
    return found


def test_a_client_works_through_one_port_and_nothing_is_left(world):
    cluster, said = held(world)
    with cluster, Client(cluster.address) as client:
        assert cluster.address.startswith("tcp://127.0.0.1:")
        assert ranks(client) == ["0", "1"]
        assert sum(client.gather(client.map(lambda number: number * number, range(200)))) == 2646700
        seen = {c.raddr.ip for c in psutil.Process().net_connections("tcp") if c.raddr and c.status == "ESTABLISHED"}
        assert seen == {"127.0.0.1"}, "through the tunnel alone"
    assert paid(world) == []
    assert job_of(world, cluster).state == "succeeded"
    assert "dask on 2 machines of aws/us-east-1" in said[0]
    assert "an hour" in said[0]


def _read(url: str) -> bytes:
    """What is there; nothing yet where the way there takes its time."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.read()
    except OSError:
        return b""


def test_its_dashboard_opens_on_a_port_of_this_host_until_the_job_is_over(world):
    cluster, _ = held(world)
    with cluster:
        command = [sys.executable, "-m", "sky_core.cli", "open", cluster.job_id, "dashboard"]
        opened = subprocess.Popen(command, env={**os.environ, **world.environ}, text=True, stdout=subprocess.PIPE)
        address = urlsplit(opened.stdout.readline().strip())
        assert (address.hostname, address.path) == ("127.0.0.1", "/status")
        assert until(lambda: _read(f"http://{address.netloc}/health")) == b"ok"
    said, _ = opened.communicate(timeout=300)
    assert said == f"{cluster.job_id} is over: succeeded\n"


def test_the_loss_of_a_machine_is_told_while_the_block_goes_on(world):
    cluster, said = held(world)
    with cluster:
        (made,) = Broker.open(world.settings).store.clusters(job_id=cluster.job_id)
        name = made.instance_ids[1].rpartition("/")[2]
        world.control.kill(next(one for one in world.live() if one.rpartition("/")[2] == name))
        until(lambda: any("the machine of rank 1 is gone" in line for line in said))
        until(lambda: any("rank 1 has joined" in line for line in said))
    assert len([line for line in said if "is gone" in line]) == 1
    assert paid(world) == []


def test_an_error_in_the_block_ends_the_cluster_and_is_what_is_raised(world):
    cluster, _ = held(world, num_nodes=1)
    with pytest.raises(LookupError, match="mine"), cluster:
        raise LookupError("mine")
    assert paid(world) == []


def test_a_cluster_that_does_not_come_about_says_why(world):
    cluster, _ = held(world, num_nodes=1, envs={"PATH": "/usr/bin:/bin"})
    with pytest.raises(TaskFailed, match=r"no dask on this machine.*skyloom\[dask\]"), cluster:
        pytest.fail("it is up")
    assert paid(world) == []


def test_a_block_that_is_cancelled_before_its_cluster_is_up_leaves_none(world):
    cluster, _ = held(world, num_nodes=1)

    async def program():
        async with cluster:
            pytest.fail("it is up")

    async def impatient():
        task = asyncio.create_task(program())
        while not world.live():
            await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(impatient())
    assert paid(world) == []
    assert job_of(world, cluster).state == "cancelled"


def test_a_client_finds_a_cluster_again_that_went_on_elsewhere(world):
    cluster, _ = held(world)

    async def program():
        async with cluster:
            before = cluster.address
            world.control.kill(head_of(world, cluster))
            while job_of(world, cluster).attempt < 2:
                await asyncio.sleep(0.1)
            assert cluster.address == before
            async with Client(cluster.address, asynchronous=True, timeout=60) as client:
                return await client.submit(lambda: os.environ["SKY_ATTEMPT"])

    assert asyncio.run(program()) == "2"
    assert paid(world) == []


PROGRAM = """
import sys, time
from sky_core import Resources
from sky_core.broker.clusters.held import HeldCluster
from sky_core.broker.clusters.stay import cluster_task

small = Resources(cloud="aws", instance_type="t3.small")
cluster = cluster_task("c", engine="dask", num_nodes=2, environment=None, resources=small)
with HeldCluster(cluster, say=lambda text: print(text, flush=True)):
    print("UP", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def program(world):
    """A process that has a cluster, in a session of its own."""
    started = subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, **world.environ}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    yield started
    started.kill()
    started.communicate()


def said_by(process, word):
    for line in process.stdout:
        if word in line:
            return
    pytest.fail(process.stderr.read())


@pytest.mark.parametrize("word", ["UP", "accepted the launch"])
def test_ctrl_c_takes_the_cluster_down(world, program, word):
    said_by(program, word)
    os.killpg(program.pid, signal.SIGINT)
    _, complaint = program.communicate(timeout=300)
    assert "KeyboardInterrupt" in complaint
    assert paid(world) == []


def test_kill_9_leaves_no_cluster(world, program):
    said_by(program, "UP")
    assert len(paid(world)) == NODES
    program.kill()
    until(lambda: not paid(world))


def test_kill_9_of_all_that_was_there_leaves_no_cluster_for_longer_than_its_interest_holds(world, program):
    (world.home / "config.toml").write_text("interest_ttl_s = 5.0\n")
    said_by(program, "UP")
    (tunnel,) = [one for one in psutil.Process(program.pid).children() if "sky_core.tunnel.process" in one.cmdline()]
    tunnel.kill()
    time.sleep(2.0)
    assert len(paid(world)) == NODES
    program.kill()
    until(lambda: not paid(world))
    job = max(Broker.open(world.settings).store.jobs(), key=lambda job: job.created_at)
    assert job.cancel_reason.startswith("who used it has said nothing for ")


def test_only_engines_that_have_clients_elsewhere():
    with pytest.raises(SpecError, match="mpi cannot be used from another host: one of dask, ray"):
        cluster_task("c", engine="mpi", num_nodes=2)
    with pytest.raises(SpecError, match="engine: a cluster needs one"):
        cluster_task("c", engine=None)


@pytest.mark.parametrize("about", [{"run": "true"}, {"inputs": {"a": "s3://b/a"}}, {"outputs": {"a": None}}])
def test_what_a_cluster_has_not_is_told_as_such(about):
    (field,) = about
    with pytest.raises(SpecError, match=rf"Task\.c: {field}: a cluster has none.*engine=…"):
        cluster_task("c", engine="dask", **about)


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_what_is_not_here_would_not_be_there(world):
    cluster, _ = held(world, engine="ray", environment="caller")
    with pytest.raises(SpecError, match=r"ray is not installed here.*skyloom\[ray\]"), cluster:
        pytest.fail("it is up")
    assert Broker.open(world.settings).store.find_job(cluster.job_id or "none") is None


OF_THE_CALLER = """
from distributed import Client, __version__
from sky_core import Resources
from sky_core.broker.clusters.held import HeldCluster
from sky_core.broker.clusters.stay import cluster_task

small = Resources(cloud="aws", instance_type="t3.small")
with HeldCluster(cluster_task("c", engine={"name": "dask", "threads": 1}, resources=small)) as cluster:
    with Client(cluster.address) as client:
        seen = client.run(lambda: (__import__("distributed").__version__, __import__("sys").prefix))
        ((there, prefix),) = seen.values()
        print("same", there == __version__, prefix)
"""


def test_the_cluster_gets_the_packages_of_who_asks(tmp_path):
    """On a machine that has nothing but its image's Python, for a caller that has little more than Dask."""
    own, uv_bin = tmp_path / "own", uv.find_uv_bin()
    subprocess.run([uv_bin, "venv", "--quiet", "--python", sys.executable, own], check=True)
    install = [uv_bin, "pip", "install", "--quiet", "--python", own / "bin/python", "--constraint"]
    subprocess.run([*install, ROOT / "constraints/dev.txt", "--editable", f"{ROOT}[dask,aws]"], check=True)
    strict = start_sandbox(tmp_path / "home", images="strict")
    try:
        done = subprocess.run([own / "bin/python", "-c", OF_THE_CALLER], env={**os.environ, **strict.environ},
                              capture_output=True, text=True, timeout=250)  # fmt: skip
        assert re.search(r"^same True \S*/\.skyloom/jobs/\S+/python-env$", done.stdout, re.MULTILINE), done
        assert paid(strict) == []
    finally:
        down(strict.home)
