"""The tutorial as a notebook, from top to bottom in a kernel of Jupyter's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from sky_sandbox import client

pytestmark = pytest.mark.slow
NOTEBOOK = Path(__file__).parents[3] / "docs" / "tutorial.ipynb"
LONGEST_S = 600  # a cell, on a busy machine; alone all of them take half a minute


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What each cell of code has shown, as text and as HTML."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("SKYLOOM_HOME", str(home))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    try:
        NotebookClient(notebook, timeout=LONGEST_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
        yield [shown(cell) for cell in notebook.cells if cell.cell_type == "code"]
    finally:
        client.down(home)


def shown(cell: nbformat.NotebookNode) -> str:
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found += [output.get("text", ""), data.get("text/html", ""), data.get("text/plain", "")]
    return "\n".join(found)


@pytest.mark.timeout(1500)
def test_its_cells_show_what_it_says(said):
    up, _, page, frame, goals, run, came, looks, left = said
    assert "the sandbox runs" in up
    assert page.startswith('\n<iframe title="plan"')
    assert frame.index("prepare") < frame.index("train")
    assert goals.count("$") == 2
    assert "train | the sum is 5050" in run
    assert "{'prepare': 'succeeded', 'train': 'succeeded'}" in run
    assert "bill: $" in came
    assert looks.count("the sum is 5050") == 2, "in the log, and in what was fetched"
    assert "stopped" in left


def test_it_is_kept_without_what_it_showed_once():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
