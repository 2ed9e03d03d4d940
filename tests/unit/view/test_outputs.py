"""Which outputs are kept, by age and by number."""

from __future__ import annotations

import pytest

from sky_core.overview.outputs import Output, outworn


def output(job: str, at: float, task: str = "train", name: str = "model") -> Output:
    return Output(job, "nightly", f"run-{job}", task, name, f"s3://b/{job}/{name}", 1.0, at)


FOUND = [output("e", 50), output("d", 40), output("d", 40, name="report"), output("c", 30), output("a", 10)]


@pytest.mark.parametrize(
    ("older_than", "keep", "gone"),
    [
        (None, None, "e/model d/model d/report c/model a/model"),
        (30, None, "a/model"),
        (30.1, None, "c/model a/model"),
        (None, 0, "e/model d/model d/report c/model a/model"),
        (None, 1, "d/model c/model a/model"),
        (None, 3, "a/model"),
        (45, 1, "d/model c/model a/model"),  # the report is its task's newest, however old
        (35, 1, "c/model a/model"),
    ],
)
def test_what_goes_is_both_old_and_beyond_the_number(older_than: float | None, keep: int | None, gone: str) -> None:
    assert " ".join(f"{one.job}/{one.name}" for one in outworn(FOUND, older_than, keep)) == gone
