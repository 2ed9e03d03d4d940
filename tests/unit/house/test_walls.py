"""The walls hold: each is broken in a copy of the tree, and a tool of ``make check`` says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(1200)  # seconds of work, but a minute without the type checker's cache
ROOT = Path(__file__).parents[3]
PACKAGES = ("sky_core", "sky_sandbox", "sky_airflow", "sky_prefect", "lab", "demo")

# An import that must not be: the file that gets it, what it imports, and the chain that breaks a contract.
IMPORTS = [
    ("sky_sandbox/world.py", "sky_core.driver.process", "sky_sandbox.world -> sky_core.driver.process"),
    ("sky_sandbox/gcp/types.py", "sky_core.clouds.gcp.names", "sky_sandbox.gcp.types -> sky_core.clouds.gcp.names"),
    ("sky_sandbox/ledger.py", "sky_core.facts", "sky_sandbox.ledger -> sky_core.facts"),
    ("sky_core/planner/market.py", "google.cloud.compute_v1", "sky_core.planner.market -> google"),
    ("sky_core/store/plans.py", "boto3", "sky_core.store.plans -> boto3"),
    ("sky_core/driver/sweep.py", "azure.identity", "sky_core.driver.sweep -> azure"),
    ("sky_core/estimate/kinds.py", "sky_core.ssh.link", "sky_core.estimate.kinds -> sky_core.ssh.link"),
    ("sky_core/broker/spawn.py", "sky_core.driver.step", "sky_core.broker.spawn -> sky_core.driver.step"),
    ("sky_airflow/wanting.py", "sky_core.driver.process", "sky_airflow.wanting -> sky_core.driver.process"),
    ("sky_prefect/window.py", "paramiko", "sky_prefect.window -> paramiko"),
    ("sky_prefect/needs.py", "sky_airflow.dags", "sky_prefect.needs -> sky_airflow.dags"),
    ("sky_core/facts/aws.py", "sky_core.spec", "sky_core.facts.aws -> sky_core.spec"),
    ("sky_core/recovery/ours.py", "sky_sandbox.client", "sky_core.recovery.ours -> sky_sandbox.client"),
    ("sky_core/job/needs.py", "airflow.sdk", "sky_core.job.needs -> airflow"),
]

# A slip of the pen: where, what becomes what, and what the type checker says of it.
SLIPS = [
    ("sky_core/clouds/aws/provider.py", "def leftovers(self, tags", "def leftover(self, tags", '"type[Cloud]"'),
    ("sky_core/remote/ssh_executor.py", "def leave(self, machines", "def leve(self, machines", '"Executor"'),
    ("sky_core/driver/stages/closing.py", 'comes_to(closing="canc', 'comes_to(clsoing="canc', '"clsoing"'),
    ("sky_core/driver/stages/closing.py", 'comes_to(state="recovering"', 'comes_to(state="recoverin"', "'recoverin'"),
    ("sky_core/driver/lead/promise.py", "[TooSlow(attempt", "[ToSlow(attempt", '"ToSlow"'),
    ("sky_core/driver/stages/running.py", "Lost(attempt=cluster.attempt, detail", "Lost(attempt=1, detial", '"detial"'),
    ("sky_core/overview/outputs.py", "(job_id, what.output)", "(job_id, what.out)", '"out"'),
    ("sky_core/events/running.py", 'kind="too slow"', 'kind="to slow"', "'to slow'"),
    ("sky_core/driver/stages/placing.py", 'Result = {"exit_code"', 'Result = {"exitcode"', '"exitcode"'),
    ("sky_core/driver/stages/launch.py", "use_spot=placement.use_spot", "use_spot=placement.spot", '"spot"'),
    ("sky_core/optimizer/problem.py", '"cost*time"] | W', '"cost*time", "carbon"] | W', "'carbon'"),
    ("sky_core/facts/aws.py", "default_region=", "defualt_region=", '"defualt_region"'),
]

# What only a test can know: where, what becomes what, and which test fails.
LACKS = [
    ("sky_core/facts/__init__.py", "azure.FACTS, ", "", "test_each_of_our_clouds_is_known_whole[azure]"),
    ("sky_core/events/ending.py", ', kind="dismissed"', "", "test_each_kind_of_event_has_words"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has changed: there is not one {old!r}"
    file.write_text(text.replace(old, new))


def complaints(copy: Path, *command: str) -> str:
    """What a tool says of the copy; it has to find fault."""
    environ = {**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "500"}
    command = (sys.executable, *command)
    done = subprocess.run(command, cwd=copy, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def files_of(errors: Iterable[str]) -> set[str]:
    return {line.partition(":")[0] for line in errors if ": error: " in line}


def test_imports_that_must_not_be(copy: Path) -> None:
    (copy / "sky_core/attic.py").write_text('"""A part without a floor."""\n')
    for file, module, _ in IMPORTS:
        with (copy / file).open("a") as text:
            text.write(f"\n\ndef _late() -> None:\n    import {module}\n")
    said = complaints(copy, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")
    missing = [chain for _, _, chain in IMPORTS if chain not in said]
    assert not missing, said
    assert "attic" in said


def test_slips_that_a_type_shows(copy: Path) -> None:
    cache = ROOT / ".mypy_cache"  # of the run before, which spares a minute
    if cache.is_dir():
        shutil.copytree(cache, copy / ".mypy_cache")
    for file, old, new, _ in SLIPS:
        change(copy / file, old, new)
    errors = complaints(copy, "-m", "mypy", "-p", "sky_core").splitlines()
    for file, _, _, word in SLIPS:
        assert any(line.startswith(file) and word in line for line in errors), (file, word, errors)
    assert files_of(errors) <= {file for file, *_ in SLIPS}


def test_what_only_a_test_can_know(copy: Path) -> None:
    for file, old, new, _ in LACKS:
        change(copy / file, old, new)
    tests = ("tests/unit/catalog/test_facts.py", "tests/unit/view/test_narrate.py")
    said = complaints(copy, "-m", "pytest", "-q", *tests, "-k", "azure or words")
    for _, _, _, test in LACKS:
        assert f"{test} - " in said, said
