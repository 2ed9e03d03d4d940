"""``skyloom run`` and ``skyloom driver`` as processes of their own, against the sandbox."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sky_core import Pipeline, Task
from sky_core.broker.interest import TO_THE_END
from tests.conftest import until
from tests.sandbox.brokers import drivers, own_broker
from tests.sandbox.jobs.test_broker import submit, task

pytestmark = pytest.mark.slow
SANDBOX = {"hours_per_second": 0.1}
PIPELINE = """
name: nightly
resources: {infra: aws/us-east-1, instance_type: t3.small}
hours: 0.1
workdir: .
run: cat word
"""


@pytest.fixture
def broker(world, tmp_path, monkeypatch, own_store_url):
    """A broker with a store of its own, and the current directory."""
    monkeypatch.chdir(tmp_path)
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker


def skyloom(*arguments):
    command = [sys.executable, "-m", "sky_core.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_a_notebook_runs_a_pipeline_to_its_end_and_is_told_of_it(world, broker):
    said = []
    needs = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small"}
    words = Task(name="words", run="echo the word", hours=0.1, resources=needs)
    jobs = broker.run(Pipeline(name="n", tasks=(words,)), say=said.append)
    assert jobs["words"].state == "succeeded"
    assert "words | the word" in said
    assert any(line.startswith("words launched") or "aws" in line for line in said)


def test_runs_started_at_once_are_runs_of_their_own(world, broker, tmp_path):
    (tmp_path / "nightly.yaml").write_text(PIPELINE)
    (tmp_path / "word").write_text("the word")
    with ThreadPoolExecutor() as pool:
        for done in pool.map(lambda _: skyloom("run", "nightly.yaml", "--yes"), range(2)):
            assert (done.returncode, "nightly | the word" in done.stdout) == (0, True), done.stderr
    assert len(broker.store.jobs()) == 2


def test_a_detached_run_outlives_its_terminal_and_is_gone_on_with(world, broker, tmp_path):
    (tmp_path / "word").write_text("went on")
    second = "name: second\nrun: echo and on\n"
    (tmp_path / "two.yaml").write_text(
        PIPELINE.replace("nightly", "first").replace("cat word", "sleep 3; cat word").strip() + f"\n---\n{second}"
    )
    done = skyloom("run", "two.yaml", "--yes", "--detach")
    assert done.returncode == 0, done.stderr
    log, key = re.search(r"its log is (.*)", done.stdout)[1], re.search(r"--key (\S+)", done.stdout)[1]
    (follower,) = until(lambda: [p for p in psutil.process_iter(["cmdline"]) if key in (p.info["cmdline"] or [])])
    until(lambda: [i for job in broker.store.jobs() for i in broker.store.interest_of(job.id) if i.who == TO_THE_END])
    follower.kill()
    follower.wait()
    (first,) = broker.store.jobs()
    assert broker.watch(first.id).state == "succeeded"
    again = skyloom("run", "two.yaml", "--yes", "--key", key)
    assert again.returncode == 0, again.stderr
    assert "second | and on" in again.stdout
    assert len(broker.store.jobs()) == 2
    assert key in Path(log).read_text()


def test_a_detached_run_has_read_its_file_when_the_command_returns(world, broker, tmp_path):
    for word in ("one", "two", "three"):
        (tmp_path / "loop.yaml").write_text(f"name: {word}\nrun: echo {word}\n")
        done = skyloom("run", "loop.yaml", "--yes", "--detach")
        assert done.returncode == 0, done.stderr
    (tmp_path / "loop.yaml").write_text("name: last\nrun: 'no: [yaml\n")
    assert sorted(job.task for job in broker.store.jobs()) == ["one", "three", "two"]
    for job in broker.store.jobs():
        assert broker.watch(job.id).state == "succeeded"


def test_a_driver_as_a_service_stays_without_work_and_lets_go_when_stopped(world, broker, tmp_path):
    service = subprocess.Popen([sys.executable, "-m", "sky_core.cli", "driver"], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: "driving the jobs of store" in service.stderr.readline())
        job = submit(broker, task(run="sleep 600"))
        until(lambda: broker.job(job.id).state == "running")
        assert drivers(broker) == [], "nobody else was started"
        os.kill(service.pid, signal.SIGTERM)
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait()
        service.stderr.close()
    assert broker.cancel(job.id, "another driver goes on at once")
    assert broker.watch(job.id).state == "cancelled"
    assert len(world.launches(job.id)) == 1
