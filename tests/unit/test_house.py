"""The house stays as it is drawn: small files, small folders, and no cloud known by name where none should be."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("sky_core", "sky_sandbox", "sky_airflow", "sky_prefect", "lab", "demo")
FILES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
LINES, FILES_OF_A_FOLDER = 400, 12
CLOUDS = {"aws", "azure", "gcp"}
# Where a cloud may be called by its name, and why.
AT_HOME = {
    "sky_core/facts": "what is known of each",
    "sky_core/clouds": "a folder for each",
    "sky_core/catalog/build": "how the embedded price lists were made",
    "sky_core/catalog/refresh/sources": "a price API of each",
    "sky_core/remote/agent": "runs on a machine, without facts, and asks its cloud's metadata service",
    "sky_core/planner/view/page": "gives each its colour",
    "sky_core/spec_yaml": "as the files of others name their buckets",
    "sky_sandbox": "plays them",
    "demo": "tells a story",
}


def test_files_and_folders_are_small() -> None:
    long = [path for path in FILES if len(path.read_text().splitlines()) > LINES]
    full = [folder for folder, count in Counter(path.parent for path in FILES).items() if count > FILES_OF_A_FOLDER]
    assert (long, full) == ([], [])


def test_no_cloud_is_called_by_its_name() -> None:
    named = {
        f"{where}:{line}"
        for path in FILES
        for where in (path.relative_to(ROOT).as_posix(),)
        if not any(where.startswith(f"{home}/") for home in AT_HOME)
        for line in _lines_that_name_one(path)
    }
    assert not named, "ask sky_core.facts instead"


def _lines_that_name_one(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and node.value in CLOUDS:
            yield node.lineno
