"""The example DAGs are parsed quickly and planned over the embedded catalog."""

from __future__ import annotations

import re
import runpy
import time
from pathlib import Path

import pytest

from sky_airflow.files import DagFiles
from sky_core.broker import Broker
from sky_core.config import Settings

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
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


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_names_it(path):
    assert f"example_dags/{path.name}" in (ROOT / "docs" / "airflow.md").read_text()


BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "airflow.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_what_the_page_shows_is_a_dag(block, tmp_path):
    (tmp_path / "train.sh").write_text("true\n")
    file = tmp_path / "shown.py"
    file.write_text(block)
    made = runpy.run_path(str(file))
    assert "DAG" in made
    if "SkyOperator" in made:
        assert DagFiles().draft(file).pipeline.tasks
