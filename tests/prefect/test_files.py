"""Flow files at the command line: planned without launching anything or leaving anything behind."""

from pathlib import Path

import psutil

from sky_core import Objective
from sky_prefect.files import engine

FLOW = Path(__file__).parents[2] / "example_flows/vision_pipeline.py"


def test_a_flow_is_planned_as_a_whole_and_its_server_ends(sandbox, monkeypatch):
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children(recursive=True))
    plan = engine.plan(FLOW, Objective(minimize="time"))
    assert (list(plan.placements), plan.objective.minimize) == (["process", "train", "infer"], "time")
    assert sandbox.live() == []
    assert not [p for p in set(psutil.Process().children(recursive=True)) - before if "uvicorn" in p.cmdline()]
