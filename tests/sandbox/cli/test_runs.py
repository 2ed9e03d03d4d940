"""A run as whoever started it sees it, leaves it, comes back to it, enters its machine, mends it and cancels it."""

from __future__ import annotations

import re
import subprocess
import sys

import psutil
import pytest

from tests.conftest import until
from tests.sandbox.brokers import own_broker
from tests.terminal import ESCAPES, LONGEST_S, Terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # a busy machine has time
SANDBOX = {"hours_per_second": 0.1}
PIPELINE = """
name: night
tasks:
  - name: first
    run: echo it begins; until test -e go; do sleep 0.2; done; echo out > $SKY_OUTPUT_X
    hours: 0.5
    outputs: {{x: {{size_gb: 0.001}}}}
    resources: {{infra: aws/us-east-1, instance_type: t3.small}}
  - name: second
    run: cat $SKY_INPUT_X; {then}
    hours: 0.5
    inputs: {{x: first.x}}
    resources: {{infra: aws/us-east-1, instance_type: t3.small}}
"""


@pytest.fixture
def broker(world, tmp_path, monkeypatch, own_store_url):
    monkeypatch.chdir(tmp_path)
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker
    # What was left running by itself, if the test has failed.
    for process in psutil.process_iter(["cmdline", "environ"]):
        if "--detached" in (process.info["cmdline"] or []) and str(world.home) in str(process.info["environ"]):
            process.kill()


@pytest.fixture
def terminal():
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal("-m", "sky_core.cli", *words))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def skyloom(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "sky_core.cli", *words], capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_run_is_watched_left_entered_come_back_to_mended_and_done(world, broker, terminal, tmp_path):
    (tmp_path / "night.yaml").write_text(PIPELINE.format(then="exit 3"))
    watching = terminal("run", "night.yaml", "--yes")
    seen = watching.read(lambda text: "it begins" in text and re.search(r"running +aws/", text) is not None)
    assert re.search(r"so far of \$\d+\.\d\d planned; about", seen)
    assert re.search(r"\d\d:\d\d:\d\d first \| ", ESCAPES.sub("", seen))
    watching.type("\x03")
    watching.read(lambda text: "Cancel the run (c)" in text)
    watching.type("what\n")
    watching.read(lambda text: "neither c nor l" in text)
    watching.type("\n")
    watching.read(lambda text: "going on" in text)
    watching.type("\x03")
    watching.read(lambda text: text.count("Cancel the run (c)") >= 3)
    watching.type("l\n")
    left = watching.read(lambda text: "come back to it: skyloom attach" in text)
    assert watching.process.wait(LONGEST_S) == 0
    key = re.search(r"skyloom attach (\S+)", ESCAPES.sub("", left))[1]

    code, said = skyloom("exec", "first", "sh", "-c", "echo; exit 5")
    assert (code, said) == (5, "\n"), said
    assert skyloom("exec", "first", "--rank", "0", "echo", "--rank")[1] == "--rank\n"
    assert skyloom("exec", "first", "pwd")[1].strip().endswith("/1/work")
    shell = terminal("ssh", "night/")
    assert "there is no job" in shell.read(lambda text: "there is no job" in text)
    shell = terminal("ssh", f"{key}/first")
    shell.type("echo $((6 * 7)) >&2; exit 6\n")
    assert "42" in shell.read(lambda text: "42" in text)
    assert shell.process.wait(LONGEST_S) == 6

    coming_back = terminal("attach", "night")
    coming_back.read(lambda text: "it begins" in text)
    assert skyloom("exec", "first", "touch", "go")[0] == 0
    ended = ESCAPES.sub("", coming_back.read(lambda text: "bill: $" in text))
    assert coming_back.process.wait(LONGEST_S) == 1
    assert "second failed: exit code 3" in ended
    assert re.search(r"bill: \$\d+\.\d\d; planned: \$\d+\.\d\d", ended)

    (tmp_path / "mended.yaml").write_text(PIPELINE.format(then="echo well done"))
    until(lambda: all(job.over for job in broker.store.jobs()))
    code, said = skyloom("retry", key, "--file", "mended.yaml", "--yes")
    assert code == 0, said
    assert "again: second\n" in said
    assert "second | well done" in said
    assert [job.task for job in broker.store.jobs(plan_key=key)].count("first") == 1, "what has succeeded stays"
    assert "all its tasks have succeeded" in skyloom("retry", key)[1]
    assert skyloom("attach", key)[0] == 0


def test_ctrl_c_twice_cancels_and_ends_the_machines(world, broker, terminal, tmp_path):
    (tmp_path / "night.yaml").write_text(PIPELINE.format(then="true"))
    watching = terminal("run", "night.yaml", "--yes")
    watching.read(lambda text: "it begins" in text)
    watching.type("\x03")
    watching.read(lambda text: "Cancel the run (c)" in text)
    watching.type("\x03")
    assert "cancelled; machines are being taken down" in watching.read(lambda text: "being taken down" in text)
    assert watching.process.wait(LONGEST_S) == 1
    (job,) = broker.store.jobs()
    assert broker.watch(job.id).state == "cancelled"
    assert "is over (cancelled), its machines are gone" in skyloom("exec", job.id, "true")[1]
