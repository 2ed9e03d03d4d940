"""Flow files at the command line: read without launching anything or leaving anything behind."""

from pathlib import Path

import psutil

from sky_core import Objective
from sky_prefect.files import engine

FLOW = Path(__file__).parents[2] / "example_flows/vision_pipeline.py"


def test_a_flow_is_read_as_a_whole_and_its_server_ends(sandbox, monkeypatch):
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children(recursive=True))
    draft = engine.draft(FLOW)
    assert [task.name for task in draft.pipeline.tasks] == ["process", "train", "infer"]
    assert draft.objective == Objective(minimize="cost")
    assert sandbox.live() == []
    assert not [p for p in set(psutil.Process().children(recursive=True)) - before if "uvicorn" in p.cmdline()]
