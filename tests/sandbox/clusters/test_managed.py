"""Tasks on clusters that a cloud's own service runs: real SDKs, and a first machine that runs what it is told.

Spark is not among the suite's packages: a small ``spark-submit`` on the machine stands for it, and the real one is in
``test_heavy_engines.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sky_core import Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.clouds import connect, contract
from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER
from sky_core.clouds.contract import PROMISES, Promise
from sky_core.driver.sweep import collect
from sky_core.errors import InvalidRequest
from sky_core.facts.managed import is_managed
from sky_core.remote.switch import switch
from tests.conftest import Sandbox, until
from tests.sandbox.brokers import drivers, own_broker
from tests.sandbox.clouds.test_permissions import listed
from tests.sandbox.driving import Home, home_of

pytestmark = pytest.mark.slow
NODES = 3
SUBMIT = """
mkdir -p ~/.local/bin
printf '#!/bin/sh\\necho "$(whoami) submits $*"\\nexec python3 "$@"\\n' >~/.local/bin/spark-submit
chmod +x ~/.local/bin/spark-submit
"""
WORDS = """
cat >count.py <<'END'
words = "a b b".split()
print("counts", sorted((word, words.count(word)) for word in set(words)))
END
spark-submit count.py
"""
PLACES = {
    "aws": {"region": "us-east-1", "instance_type": "m5.xlarge"},
    "gcp": {"region": "us-central1", "instance_type": "n2-standard-4"},
}
TYPES = {"aws": "emr-7.9.0/m5.xlarge", "gcp": "dataproc-2.2/n2-standard-4"}
ZONES = {"aws": "us-east-1a", "gcp": "us-central1-a"}
RIGHTS = {"aws": "elasticmapreduce:RunJobFlow", "gcp": "dataproc.clusters.create"}
CREATE = {"aws": ("RunJobFlow", "InternalServerException"), "gcp": ("clusters.create", "503")}


@pytest.fixture(params=PLACES)
def cloud(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def home(sandbox: Sandbox, tmp_path: Path) -> Iterator[Home]:
    with home_of(sandbox, tmp_path) as home:
        yield home


def task(cloud: str, run: str = WORDS, name: str = "words", **options: Any) -> Task:
    resources = Resources(managed="spark", version=">=3.3", cloud=cloud, **PLACES[cloud])
    return Task(name=name, run=run, setup=SUBMIT, hours=0.1, num_nodes=NODES, resources=resources, **options)


def subject(sandbox: Sandbox, cloud: str) -> contract.Subject:
    """What the service sells, of one machine: it is told as one."""
    region = PLACES[cloud]["region"]
    return contract.Subject(lambda: connect(cloud, sandbox.settings), TYPES[cloud], region, ZONES[cloud], nodes=1)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_the_contract_of_its_cloud(sandbox: Sandbox, cloud: str, promise: Promise) -> None:
    promise(subject(sandbox, cloud))


def test_a_task_runs_on_a_cluster_and_nothing_is_left(sandbox: Sandbox, home: Home, cloud: str) -> None:
    job = home.submit(task(cloud, engine="spark"))
    (done,) = home.drive(job)
    log = home.store.log(job.id).decode()
    assert done.state == "succeeded", log
    assert "counts [('a', 1), ('b', 2)]" in log
    (cluster,) = home.store.clusters(job_id=job.id)
    assert (cluster.instance_type, cluster.num_nodes) == (TYPES[cloud], NODES)
    plain = Catalog.embedded().query(Resources(cloud=cloud, **PLACES[cloud]))["price"][0]
    assert cluster.price > plain, "the service's fee is part of the price"
    assert sandbox.live() == []
    billed = sandbox.control.ledger(tags={TAG_CLUSTER: cluster.token})
    assert len({entry["id"] for entry in billed if entry["kind"] == "machine"}) == NODES
    assert all(entry["ended"] for entry in billed)


def test_kill_9_of_the_driver_ends_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, own_store_url: str, cloud: str
) -> None:
    one = task(cloud, run="for i in $(seq 30); do echo tick $i; sleep 0.2; done; spark-submit --version || true")
    with own_broker(sandbox, monkeypatch, own_store_url) as broker:
        broker.plan("run", Pipeline(name="p", tasks=(one,)))
        job = broker.submit("run/words", one, "run")
        until(lambda: b"tick 5\n" in broker.store.log(job.id))
        for driver in drivers(broker):
            driver.kill()
        job = broker.watch(job.id)
        ticks = [line for line in broker.store.log(job.id).decode().splitlines() if line.startswith("tick")]
        assert (job.state, ticks) == ("succeeded", [f"tick {number}" for number in range(1, 31)])
        assert len(sandbox.launches(job.id)) == NODES
    assert sandbox.live() == []


def test_another_driver_ends_a_job_of_one_that_is_gone(sandbox: Sandbox, home: Home, cloud: str) -> None:
    job = home.submit(
        task(cloud, run="echo began; while [ ! -f go ]; do sleep 0.1; done; spark-submit --version || true")
    )
    home.drive(job, stop=lambda: b"began" in home.store.log(job.id))
    live = sandbox.live()
    home.store.request_cancel(job.id, "enough")
    (ended,) = home.drive(job, driving=home.new_driving())
    assert ended.state == "cancelled"
    assert len(home.store.clusters(job_id=job.id)) == 1
    assert (len(live), sandbox.live()) == (NODES, [])


def test_a_creation_whose_answer_is_lost_makes_one_cluster(sandbox: Sandbox, home: Home, cloud: str) -> None:
    call, code = CREATE[cloud]
    sandbox.control.fault(cloud, call, "lost", code=code, times=2)
    job = home.submit(task(cloud))
    (done,) = home.drive(job)
    assert done.state == "succeeded"
    assert len(sandbox.launches(job.id)) == NODES


def test_no_capacity_leads_elsewhere(sandbox: Sandbox, home: Home, cloud: str) -> None:
    first = home.broker.plan("look", Pipeline(name="p", tasks=(task(cloud),))).placements["words"].zone
    sandbox.control.capacity(first, PLACES[cloud]["instance_type"], "on-demand", 0)
    job = home.submit(task(cloud))
    (done,) = home.drive(job)
    assert done.state == "succeeded"
    zones = [zone for _, zone in home.outcomes(job)]
    assert (zones[0], zones[-1] == first) == (first, False)


def test_a_cluster_whose_first_machine_is_lost_is_tried_anew(sandbox: Sandbox, home: Home, cloud: str) -> None:
    job = home.submit(task(cloud, run="echo began; sleep $((SKY_ATTEMPT == 1 ? 600 : 0)); echo done"))
    home.drive(job, stop=lambda: b"began" in home.store.log(job.id))
    address = home.store.job(job.id).memory["addresses"][0]
    (first,) = [machine for machine in sandbox.control.machines(live=True) if machine["ip"] == address]
    sandbox.control.kill(first["id"])
    home.drive(job, stop=lambda: len(home.store.clusters(job_id=job.id)) == 2)
    home.store.request_cancel(job.id, "enough")
    home.drive(job)
    assert home.outcomes(job)[0][0] in ("died", "lost")
    assert sandbox.live() == []


def test_a_cluster_ends_itself_when_nobody_needs_it(sandbox: Sandbox, cloud: str, token: str) -> None:
    request = subject(sandbox, cloud).request(token)
    armed = replace(switch(sandbox.settings, cloud, 1.0), idle_s=2.0)
    launched = connect(cloud, sandbox.settings).launch(replace(request, num_nodes=NODES, switch=armed))
    assert [one.armed for one in launched] != ["none"]
    assert len(sandbox.live()) == NODES
    until(lambda: sandbox.live() == [])


def test_what_nobody_owns_is_collected(sandbox: Sandbox, home: Home, cloud: str, token: str) -> None:
    provider = connect(cloud, home.settings)
    request = subject(sandbox, cloud).request(token)
    provider.launch(replace(request, num_nodes=NODES, tags={TAG_OWNER: home.store.id, TAG_CLUSTER: token}))
    found = collect(home.settings, home.store, terminate=True)
    assert [orphan.tags[TAG_CLUSTER] for orphan in found.orphans] == [token]
    until(lambda: sandbox.live() == [])


def test_a_release_that_there_is_not_is_refused(sandbox: Sandbox, cloud: str, token: str) -> None:
    request = replace(subject(sandbox, cloud).request(token), instance_type="emr-0.1.0/m5.xlarge")
    with pytest.raises(InvalidRequest, match="no release"):
        connect(cloud, sandbox.settings).launch(request)
    assert sandbox.live() == []


def test_the_listed_permissions_are_enough(sandbox: Sandbox, cloud: str, token: str) -> None:
    sandbox.control.account(allowed=listed(cloud))
    provider, request = connect(cloud, sandbox.settings), subject(sandbox, cloud).request(token)
    (launched,) = provider.launch(request)
    until(lambda: provider.describe([launched.id])[0].ip)
    assert [one.id for one in provider.find({TAG_CLUSTER: token}, instance_type=TYPES[cloud]).instances] == [
        launched.id
    ]
    provider.terminate([launched.id])
    until(lambda: provider.describe([launched.id])[0].state == "gone")


def test_who_may_not_use_the_service_gets_machines(sandbox: Sandbox, home: Home, cloud: str) -> None:
    sandbox.control.account(allowed=[action for action in listed(cloud) if action != RIGHTS[cloud]])
    wanted = Resources(cloud=cloud, region=PLACES[cloud]["region"], cpus=4,
                       ordered=({"managed": "spark"}, {"memory": "8+"}))  # fmt: skip
    job = home.submit(Task(name="words", run=WORDS, setup=SUBMIT, hours=0.1, resources=wanted))
    (done,) = home.drive(job)
    first, *rest = home.store.clusters(job_id=job.id)
    assert (done.state, first.outcome, is_managed(first.instance_type)) == ("succeeded", "auth", True)
    assert [is_managed(cluster.instance_type) for cluster in rest] == [False], "no other cluster of it is asked for"
