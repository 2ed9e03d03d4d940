"""Files in SkyPilot's style, one of each kind, run by ``skyloom run``: what its documentation says comes of them."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.clouds import connect
from tests.conftest import until
from tests.sandbox.brokers import own_broker
from tests.sandbox.registry import Registry, layer, tools
from tests.sandbox.skypilot.cases import CASES, ENVS, SECRETS, written

pytestmark = [pytest.mark.slow, pytest.mark.alone]
SANDBOX = {"hours_per_second": 0.1}


@pytest.fixture(scope="module")
def broker(world):
    """One for all of them: a driver of its own for each takes longer than the file itself."""
    with pytest.MonkeyPatch.context() as patch, own_broker(world, patch, world.settings.store_url) as broker:
        yield broker


@pytest.fixture(autouse=True)
def _fate(world):
    yield
    world.control.reset()


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    registry.push("private/boxed", [layer(host=tools(), files={"etc/os-release": "NAME=boxed\n"})], {})
    yield registry
    registry.close()


@contextmanager
def beside(act: Callable[[], Any]):
    """Somebody acts while the block runs; what goes wrong with that is raised after it."""
    failed = []

    def acting():
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=acting)
    thread.start()
    yield
    thread.join()
    if failed:
        raise failed[0]


def job_of(broker, task):
    return next((job for job in broker.store.jobs() if job.task == task), None)


def lines(broker, task):
    return broker.store.log(job_of(broker, task).id).decode().splitlines()


def says(broker, task, line):
    until(lambda: job_of(broker, task))
    return until(lambda: line in lines(broker, task))


def objects(world, where):
    found = fsspec.filesystem("s3", **connect("aws", world.settings).storage_options())
    return {path.removeprefix(f"{where}/"): found.cat(path) for path in found.find(where)}


# What is there before, happens meanwhile, and is to be seen afterwards, of the kinds that a log alone does not show.


def others_data(world, broker):
    found = fsspec.filesystem("s3", **connect("aws", world.settings).storage_options())
    found.mkdir("others-data")
    found.pipe({"others-data/one/table.csv": b"1,2\n", "others-data/two/more.csv": b"3,4\n"})


def sold_out(world, broker):
    for market in ("spot", "on-demand"):
        world.control.capacity("*", "t3.small", market, 0)


def preempted(world, broker):
    says(broker, "resumes", "step 20")
    world.control.preempt(tags={"skyloom-job": job_of(broker, "resumes").id}, notice_s=10)


def asked(world, broker):
    """From outside, on the machine's own address, at the first of the ports and at the last."""
    machine = until(lambda: next(iter(world.control.machines(live=True)), None))

    def answer(port):
        try:
            return urllib.request.urlopen(f"http://{machine['ip']}:{port}/page.txt", timeout=5).read()
        except OSError:
            return None

    assert [until(lambda port=port: answer(port)) for port in (8765, 9001)] == [b"served\n"] * 2


def by_each_rank(world, broker):
    said = {f"rank-{rank}": b"rank %d of 2 sum 3\n" % rank for rank in (0, 1)}
    assert objects(world, "logs-of-gang") == said
    tags = [entry["machine"]["tags"] for entry in world.control.audit() if entry["event"] == "start"]
    job = job_of(broker, "gang").id
    assert [found.get("team") for found in tags if found.get("skyloom-job") == job] == ["research"] * 2


def went_on(world, broker):
    job, said = job_of(broker, "resumes"), lines(broker, "resumes")
    begun = [line.split() for line in said if "begins after" in line]
    stopped = next(line.split()[-1] for line in said if line.startswith("stopped after"))
    assert [(line[0], line[-1]) for line in begun] == [(job.id, "0"), (job.id, stopped)], "with nothing lost"
    assert len(world.launches(job.id)) == 2


def written_back(world, broker):
    made = objects(world, "made-by-mounts")
    assert made == {"deep/module.txt": b"a module\n", "result": b"result\n"}
    assert set(objects(world, "others-data")) == {"one/table.csv", "two/more.csv"}


def let_in(world, broker):
    """What the security group of the task's machine says."""
    ec2 = connect("aws", world.settings)._session.client("ec2", "us-east-1")
    groups = ec2.describe_security_groups()["SecurityGroups"]
    opened = {rule.get("FromPort") for group in groups for rule in group["IpPermissions"]}
    assert {8765, 9000, 9001} <= opened


def kept_secret(world, broker):
    for path in filter(Path.is_file, world.home.rglob("*")):
        assert not any(text in path.read_bytes() for text in (b"the-secret-word", b"its-second")), path


BEFORE = {"file_mounts": others_data, "any_of": sold_out}
MEANWHILE = {"storage mount as checkpoint": preempted, "ports": asked}
AFTERWARDS = {
    "gang": by_each_rank,
    "storage mount as checkpoint": went_on,
    "file_mounts": written_back,
    "ports": let_in,
    "secrets": kept_secret,
}


def run(case, folder, registry, *options):
    """What ``skyloom run`` says to it, in a folder that holds all it names."""
    file = written(case.file).replace("REGISTRY", registry.host).replace("IMAGE", "private/boxed")
    for name, text in {**case.beside, "task.yaml": file}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.endswith(".sh") else 0o644)
    return CliRunner().invoke(app, ["run", "task.yaml", "--yes", *options])


@pytest.mark.parametrize("kind", CASES)
def test_a_file_does_what_is_said_of_it(kind, world, broker, registry, tmp_path, monkeypatch):
    case = CASES[kind]
    monkeypatch.chdir(tmp_path)
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)
    BEFORE.get(kind, lambda *_: None)(world, broker)
    with beside(lambda: MEANWHILE.get(kind, lambda *_: None)(world, broker)):
        done = run(case, tmp_path, registry, *case.options)
    assert done.exit_code == case.code, (done.output, done.exception)
    for task, wanted in case.log.items():
        if wanted is None:
            assert job_of(broker, task) is None
            continue
        said = iter(lines(broker, task))
        for line in wanted:
            assert line in said, (line, lines(broker, task))
    AFTERWARDS.get(kind, lambda *_: None)(world, broker)
    assert "the-secret-word" not in done.output
    assert world.live() == []


@pytest.mark.parametrize(("case", "name"), [(ENVS, "MODEL"), (SECRETS, "API_TOKEN")])
def test_a_variable_without_a_value_is_asked_for(case, name, broker, registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(name, raising=False)
    before = len(broker.store.jobs())
    done = run(case, tmp_path, registry)
    assert done.exit_code == 1
    assert name in str(done.exception or done.output)
    assert len(broker.store.jobs()) == before
