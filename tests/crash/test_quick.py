"""A sample of the crash matrix: what ``QUICK=1 make crash-matrix`` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import databases, judge
from tests.crash.matrix import Matrix, options

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Seconds for each machine. A busy host is late to look at when a machine runs; the whole matrix, which has the host for
# itself, asks for one.
BILL_S = 6.0


@pytest.mark.parametrize("database", databases.available())
def test_a_sample_of_the_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setattr(judge, "BILL_S", BILL_S)
    matrix = Matrix(options().parse_args(["--quick", "--db", database, "--jobs", "4"]), tmp_path / "report.json")
    matrix.run()
    assert {result.point: result.violations for result in matrix.results if result.violations} == {}
