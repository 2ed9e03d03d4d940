"""Each small DAG of Sky tasks ends as the same DAG of plain tasks does, task by task, with the same result.

They run by ``dag.test()`` against one sandbox, many of them in two processes: few of each kind by default, all of them
with ``TEST_GRAMMAR=all``, or those that it names (``TEST_GRAMMAR=map_reduce,three_stages``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airflow.grammar.cases import CASES, FEW
from tests.airflow.grammar.registry import SECRET
from tests.airflow.grammar.run import ANSWER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CHOSEN = os.environ.get("TEST_GRAMMAR", "")
NAMES = sorted(CASES) if CHOSEN == "all" else CHOSEN.split(",") if CHOSEN else sorted(FEW)
PROCESSES = 2 if len(NAMES) > 20 else 1


@pytest.fixture(scope="module")
def answers(world, tmp_path_factory):
    """What came of each case, by name and kind."""
    shares = [NAMES[number::PROCESSES] for number in range(PROCESSES)]
    started = [started_process("run", names, world, tmp_path_factory.mktemp("airflow")) for names in shares]
    found = {name: {} for name in NAMES}
    for process in started:
        said, _ = process.communicate()
        assert process.returncode == 0, said[-4000:]
        for line in said.splitlines():
            if line.startswith(ANSWER):
                name, kind, came = json.loads(line.removeprefix(ANSWER))
                found[name][kind] = came
    return found


def started_process(program, names, world, folder):
    """A process that runs cases, or examples, in an Airflow of its own."""
    (folder / "dags").mkdir()
    settings = {"AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
                "PYTHONPATH": str(Path(__file__).parents[2])}  # fmt: skip
    command = [sys.executable, "-m", f"tests.airflow.grammar.{program}", *names]
    with (folder / "errors.log").open("w") as errors:
        return subprocess.Popen(
            command, env={**os.environ, **world.environ, **settings}, stdout=subprocess.PIPE, stderr=errors, text=True
        )


@pytest.mark.parametrize("name", [name for name in NAMES if CASES[name].alike])
def test_as_a_plain_dag(answers, name):
    sky, plain = answers[name]["sky"], answers[name]["plain"]
    assert "error" not in sky, sky
    assert (sky["states"], sky["result"]) == (plain["states"], plain["result"])


@pytest.mark.parametrize("name", [name for name in NAMES if not CASES[name].alike])
def test_what_plain_tasks_cannot_do(answers, name):
    sky = answers[name]["sky"]
    assert sky["result"] == [CASES[name].right], sky


def test_a_secret_is_shown_and_stored_nowhere(answers, world):
    if not CHOSEN:
        assert "error" not in answers["a_secret_from_the_dag"]["sky"]
    assert not any(found["sky"].get("leaks") for found in answers.values())
    if world.settings.store_url.startswith("sqlite"):
        files = Path(world.settings.store_url.removeprefix("sqlite:///")).parent.glob("*.db*")
        assert not [file for file in files if SECRET.encode() in file.read_bytes()]


def test_a_person_is_shown_the_plan(answers):
    if not CHOSEN:
        assert "error" not in answers["a_dear_plan_that_is_approved"]["sky"]
    asked = [name for name in NAMES if CASES[name].answer and name != "a_plan_within_its_limits_asks_nobody"]
    for name in asked:
        question, *_ = answers[name]["sky"]["questions"]
        for part in ("May ", "| cloud | machines | data |", "| aws |", "| work | aws/us-east-1"):
            assert part in question
    assert not answers.get("a_plan_within_its_limits_asks_nobody", {}).get("sky", {}).get("questions")
