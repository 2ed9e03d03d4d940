"""The matrix sees what it has to: a product broken on purpose is found guilty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.matrix import Matrix, options
from tests.crash.points import boundaries

pytestmark = pytest.mark.slow


def test_a_product_that_launches_twice_is_found_guilty(tmp_path: Path) -> None:
    point, mutation = "killed after http POST / RunInstances", "tokens made anew"
    chosen = options().parse_args(["--db", "sqlite", "--clouds", "aws", "--only", point, "--mutate", mutation])
    matrix = Matrix(chosen, tmp_path / "report.json")
    assert matrix.run() == 1
    [found] = [result for result in matrix.results if result.point.startswith(f"aws: {point}")]
    # Left alive, or, where the driver's sweep was quick enough, on the ledger with two lives: "(8.23 s, 3.94 s)".
    assert any("machine" in told or " s, " in told.rpartition("(")[2] for told in found.violations), found.violations


def test_calls_that_repeat_are_few_points() -> None:
    recorded = [{"label": label} for label in [*["http GET /a"] * 9, "ssh x", *["commit update jobs"] * 9, "ssh x"]]
    assert boundaries(recorded) == [
        ("http GET /a", 1), ("http GET /a", 2), ("ssh x", 1), ("commit update jobs", 1), ("commit update jobs", 2),
        ("ssh x", 2),
    ]  # fmt: skip
