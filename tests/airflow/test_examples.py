"""The example DAGs are parsed quickly, planned over the embedded catalog, and run to their ends.

Of these runs few by default, all with ``TEST_GRAMMAR=all``.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import time
from pathlib import Path

import pytest

from sky_airflow.files import DagFiles
from sky_core.broker import Broker
from sky_core.config import Settings
from tests.airflow.grammar.run import ANSWER
from tests.airflow.test_grammar import started_process

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
ALL = os.environ.get("TEST_GRAMMAR") == "all"
RUN = [path for path in EXAMPLES if ALL or path.stem in ("etl", "gang")]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "airflow.md").read_text(), re.MULTILINE | re.DOTALL)
SHOWN = ["nightly", "beside", "looks"] if ALL else ["looks"]  # of the page; the others want a script, or an answer
PARSED_S = 1.0
# The tasks that each is planned with.
TASKS = {
    "by_params": {"train"},
    "etl": {"extract", "transform", "report"},
    "gang": {"train"},
    "nlp": {"tokenize", "tune", "judge"},
    "spot_jobs": {"job"},
    "sweep": {"train", "best"},
    "vision_pipeline": {"process", "train", "infer"},
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_parsed_and_planned(path, tmp_path):
    began = time.process_time()
    draft = DagFiles().draft(path)
    assert time.process_time() - began < PARSED_S
    broker = Broker.open(Settings.load({"SKYLOOM_HOME": str(tmp_path)}))
    plan = broker.preview(draft.pipeline, draft.objective, base=draft.base, anywhere=True)
    assert set(plan.placements) == TASKS[path.stem]
    assert plan.cost_usd > 0


@pytest.fixture(scope="module")
def ends(world, tmp_path_factory):
    """How the tasks of each example's run ended, and those of the page's."""
    page = tmp_path_factory.mktemp("page")
    for number, block in enumerate(BLOCKS):
        # The suite may run at any time of the day, half an hour before six, too.
        (page / f"block_{number}.py").write_text(block.replace('"06:00"', '"9h"'))
    found = {}
    for folder, names in ((EXAMPLES[0].parent, [path.stem for path in RUN]), (page, SHOWN)):
        process = started_process("example", [str(folder), *names], world, tmp_path_factory.mktemp("airflow"))
        said, _ = process.communicate()
        assert process.returncode == 0, said[-4000:]
        answers = [json.loads(line.removeprefix(ANSWER)) for line in said.splitlines() if line.startswith(ANSWER)]
        found |= {name: states for name, states, _ in answers}
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*(path.stem for path in RUN), *SHOWN])
def test_it_runs(name, ends, world):
    assert set(ends[name].values()) == {"success"}
    assert {task.partition("[")[0] for task in ends[name]} >= TASKS.get(name, set())
    assert world.live() == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_names_it(path):
    assert f"example_dags/{path.name}" in (ROOT / "docs" / "airflow.md").read_text()


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_what_the_page_shows_is_a_dag(block, tmp_path):
    (tmp_path / "train.sh").write_text("true\n")
    file = tmp_path / "shown.py"
    file.write_text(block)
    made = runpy.run_path(str(file))
    assert "DAG" in made
    if "SkyOperator" in made:
        assert DagFiles().draft(file).pipeline.tasks
