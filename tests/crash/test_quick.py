"""A sample of the crash matrix: what ``QUICK=1 make crash-matrix`` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import databases
from tests.crash.matrix import Matrix, options

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("database", databases.available())
def test_a_sample_of_the_matrix(tmp_path: Path, database: str) -> None:
    matrix = Matrix(options().parse_args(["--quick", "--db", database, "--jobs", "4"]), tmp_path / "report.json")
    matrix.run()
    assert {result.point: result.violations for result in matrix.results if result.violations} == {}
