"""Flow files at the command line: read without launching anything or leaving anything behind."""

from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest
from prefect.testing.utilities import prefect_test_harness

from sky_core import Objective
from sky_core.cli.engines import parameters, read_source
from sky_core.errors import SpecError
from sky_prefect import files
from sky_prefect.files import engine

FLOW = Path(__file__).parents[2] / "example_flows/vision_pipeline.py"
FLOWS = Path(__file__).parent / "flows" / "plans.py"


def test_a_flow_is_read_as_a_whole_and_its_server_ends(sandbox, monkeypatch):
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    before = set(psutil.Process().children(recursive=True))
    draft = engine.draft(FLOW)
    assert [task.name for task in draft.pipeline.tasks] == ["process", "train", "infer"]
    assert draft.objective == Objective(minimize="cost")
    assert sandbox.live() == []
    assert not [p for p in set(psutil.Process().children(recursive=True)) - before if "uvicorn" in p.cmdline()]


@pytest.fixture(scope="module")
def server():
    """One server for all the rehearsals of this module."""
    with prefect_test_harness(server_startup_timeout=600), pytest.MonkeyPatch.context() as patch:
        patch.setattr("prefect.testing.utilities.prefect_test_harness", lambda **_: nullcontext())
        yield


@pytest.fixture
def done(server, monkeypatch):
    """What the flows of the file have done in a rehearsal, wherever that loads them."""
    found = []
    load = files.runpy.run_path

    def loaded(*args, **kwargs):
        names = load(*args, **kwargs)
        found.append(names["done"])
        return names

    monkeypatch.setattr(files.runpy, "run_path", loaded)
    return lambda: [one for names in found for one in names]


@pytest.mark.parametrize(
    ("name", "given", "tasks"),
    [
        ("plain", {"count": 2}, ["work", "work[1]"]),
        ("later", {}, ["work", "work[1]"]),
        ("later", {"count": 3}, ["work", "work[1]", "work[2]"]),
        ("catches", {}, ["work"]),
        ("counts-first", {}, ["work", "work[1]", "work[2]"]),
    ],
)
def test_a_flow_is_rehearsed_without_effects(done, name, given, tasks):
    draft = engine.draft_of(FLOWS, name, given)
    assert [task.name for task in draft.pipeline.tasks] == tasks
    assert done() == []


def test_a_flow_that_catches_everything_is_planned_too(done):
    draft = engine.draft_of(FLOWS, "catches_all", {})
    assert [task.name for task in draft.pipeline.tasks] == ["work"]


def test_an_error_of_the_flow_s_own_is_told_in_a_line(server):
    with pytest.raises(SpecError, match="failed before it submitted anything: LookupError: no table"):
        engine.draft_of(FLOWS, "breaks", {})


def test_the_flow_and_its_parameters_are_asked_for():
    with pytest.raises(SpecError, match=r"several flows.*plans.py:plain or .*plans.py:later"):
        engine.draft(FLOWS)
    with pytest.raises(SpecError, match="no flow 'plane'"):
        engine.draft_of(FLOWS, "plane", {})
    with pytest.raises(SpecError, match=r"'plain' needs parameters.*--param count=…"):
        engine.draft_of(FLOWS, "plain", {})
    with pytest.raises(SpecError, match="no parameter many"):
        engine.draft_of(FLOWS, "plain", {"count": 1, "many": 2})
    with pytest.raises(SpecError, match=r"cannot take these parameters.*count.*integer"):
        engine.draft_of(FLOWS, "plain", {"count": "many"})


def test_what_the_command_line_says_of_a_flow():
    assert read_source(f"{FLOWS}:plain").name == "plain"
    assert read_source(str(FLOWS)).name is None
    assert parameters(["x=3", 'name="3"', "when=today", "of=[1, 2]"]) == {
        "x": 3, "name": "3", "when": "today", "of": [1, 2],
    }  # fmt: skip
    with pytest.raises(SpecError, match="not NAME=VALUE"):
        parameters(["3"])
