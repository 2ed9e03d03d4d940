"""Recorded refusals of the three clouds, each sorted into the right error with the right reach."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from sky_core.errors import CloudError

ROWS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[2] / "data/refusals.toml").read_text())["refusal"]


def sort(row: dict[str, Any]) -> CloudError:
    """What the providers make of a refusal."""
    code, status, message = row["code"], row["status"], row["message"]
    if row["cloud"] == "aws":
        from sky_core.clouds.aws.errors import sort_code

        return sort_code(code, status, message)
    if row["cloud"] == "azure":
        from sky_core.clouds.azure.errors import refusal

        return refusal(code, message, status=status)
    from sky_core.clouds.gcp import errors as gcp_errors

    if row.get("api") == "tpu":
        return _sort_tpu(row)
    return gcp_errors.sort_code(code, status, message)


def _sort_tpu(row: dict[str, Any]) -> CloudError:
    from google.api_core.exceptions import from_http_status

    from sky_core.clouds.gcp import errors as gcp_errors

    number, _, name = row["code"].partition(" ")
    if row.get("late"):
        return gcp_errors.tpu_error(int(number), row["message"])
    details = [QuotaFailure()] if "QuotaFailure" in row["message"] else []
    call = from_http_status(row["status"], row["message"], details=details, errors=[{"reason": name}])
    try:
        with gcp_errors.tpu_errors("create"):
            raise call
    except CloudError as error:
        return error


class QuotaFailure:
    """Stands for ``google.rpc.QuotaFailure``, known by its name."""


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['cloud']}-{row['code']}-{i}" for i, row in enumerate(ROWS)])
def test_a_refusal_says_what_it_says_and_no_more(row: dict[str, Any]) -> None:
    error = sort(row)
    assert type(error).__name__ == row["error"], error
    if "scope" in row:
        assert getattr(error, "scope", None) == row["scope"], error
