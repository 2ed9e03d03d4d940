"""The house stays as it is drawn: small files, small folders, and no cloud known by name where none should be."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Container, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import networkx as nx

from sky_core.facts import clouds

ROOT = Path(__file__).parents[3]
PACKAGES = ("sky_core", "sky_sandbox", "sky_airflow", "sky_prefect", "lab", "demo")
BESIDE = ("tests", "benchmarks", "example_dags", "example_flows")
FILES = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
LINES, FILES_OF_A_FOLDER = 400, 12
CLOUDS = {name for name, known in clouds().items() if known.provider.startswith("sky_core.")}
# Where a cloud may be called by its name, and why.
AT_HOME = {
    "sky_core/facts": "what is known of each",
    "sky_core/clouds": "a folder for each",
    "sky_core/catalog/build": "how the embedded price lists were made",
    "sky_core/catalog/refresh/sources": "a price API of each",
    "sky_core/remote/agent": "runs on a machine, without facts, and asks its cloud's metadata service",
    "sky_core/spec_yaml": "as the files of others name their buckets",
    "sky_sandbox": "plays them",
    "demo": "tells a story",
}


def test_files_and_folders_are_small() -> None:
    long = [str(path.relative_to(ROOT)) for path in FILES if len(path.read_text().splitlines()) > LINES]
    beside = [path for name in BESIDE for path in (ROOT / name).rglob("*.py")]
    folders = Counter(path.parent for path in [*FILES, *beside])
    full = [str(folder.relative_to(ROOT)) for folder, count in folders.items() if count > FILES_OF_A_FOLDER]
    assert long == [], f"more than {LINES} lines: give a part with a subject of its own a file of its own"
    assert full == [], f"more than {FILES_OF_A_FOLDER} files: some of them belong in a folder of their own"


def test_make_test_runs_every_test() -> None:
    recipe = re.search(r"^check:.*?^test:.*?\n\n", (ROOT / "Makefile").read_text(), re.M | re.S)
    assert recipe is not None
    run = [ROOT / folder for folder in re.findall(r"tests/[a-z]+", recipe[0])]
    left = [path for path in (ROOT / "tests").rglob("test_*.py") if not any(path.is_relative_to(one) for one in run)]
    assert left == [], "no folder that make test names has them"


def test_no_imports_go_round() -> None:
    rings = [sorted(ring) for ring in nx.strongly_connected_components(imports()) if len(ring) > 1]
    assert rings == [], "not even imports within functions or for types only"


def test_no_import_runs_up() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in settings if contract.get("containers") == ["sky_core"])
    floor = {f"sky_core.{part}": number for number, parts in enumerate(layers) for part in parts.split(" | ")}
    arrows = {(part(here), part(there)) for here, there in imports().edges}
    up = {(here, there) for here, there in arrows if floor.get(here, -1) > floor.get(there, len(floor))}
    beside = {(here, there) for here, there in arrows if here != there and floor.get(here) == floor.get(there, -1)}
    assert (up, beside) == (set(), set())


def part(module: str) -> str:
    """A floor's room, such as ``sky_core.planner``; or another package."""
    return ".".join(module.split(".")[: 2 if module.startswith("sky_core.") else 1])


@cache
def imports() -> nx.DiGraph[str]:
    """Which module imports which, wherever in it that is written."""
    modules = {_name(path): path for path in FILES}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, path in modules.items():
        package = module if path.stem == "__init__" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            graph.add_edges_from((module, name) for name in _imported(node, package, modules) if name != module)
    return graph


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(node: ast.AST, package: str, modules: Container[str]) -> Iterator[str]:
    """Those of our modules that a statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), package)
        for name in (f"{base}.{alias.name}" for alias in node.names):
            if name in modules or base in modules:
                yield name if name in modules else base


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


def test_what_the_sandbox_imports_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        re.split(r"[\[<>=;,! ]", line)[0].lower()
        for line in [*project["dependencies"], *project["optional-dependencies"]["sandbox"]]
    }
    text = "\n".join(path.read_text() for path in (ROOT / "sky_sandbox").rglob("*.py"))
    imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) - sys.stdlib_module_names
    names = {"yaml": "pyyaml"}
    assert {names.get(name, name) for name in imported - {"sky_core", "sky_sandbox"}} <= declared
