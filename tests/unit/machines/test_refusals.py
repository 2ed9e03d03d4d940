"""Recorded refusals of the three clouds, each sorted into the right error with the right reach."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sky_core.clouds.base import LaunchRequest
from sky_core.clouds.reservations import aimed
from sky_core.errors import AuthError, CloudError
from sky_core.store import Observation
from sky_core.tracker.blocked import blocked

ROWS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[2] / "data/refusals.toml").read_text())["refusal"]

# What the driver notes of a refusal, and what has to be left alone by its scope.
BLOCKING = {
    "CapacityError": "capacity",
    "InvalidRequest": "capacity",
    "QuotaError": "quota",
    "AuthError": "auth",
    "NotSetUp": "auth",
}
OTHERS: dict[str, dict[str, Any]] = {
    "zone": {"zone": "west-b"},
    "region": {"region": "east", "zone": "east-a"},
    "market": {"market": "on-demand"},
    "type": {"instance_type": "small"},
    "accelerator": {"accelerator": "A100", "instance_type": "small"},
    "cloud": {"cloud": "other"},
    "none": {"reservation": None},
    "reservation": {"reservation": "cr-1"},
}
OUTSIDE: dict[str, list[dict[str, Any]]] = {
    "zone": [OTHERS["zone"], OTHERS["region"]],
    "region": [OTHERS["region"]],
    "family": [OTHERS["region"], OTHERS["market"], OTHERS["accelerator"]],
    "market": [OTHERS["market"]],
    "type": [OTHERS["type"]],
    "cloud": [OTHERS["cloud"]],
    "reservation": [OTHERS["none"], OTHERS["reservation"]],
}


def _name(row: dict[str, Any]) -> str:
    return f"{row['cloud']}-{row['code']}"


def sort(row: dict[str, Any]) -> CloudError | None:
    """What the providers make of a refusal."""
    code, status, message, late = row["code"], row["status"], row["message"], row.get("late", False)
    if row["cloud"] == "aws":
        from sky_core.clouds.aws.errors import sort_code, sort_end

        return sort_end(code, message) if late else sort_code(code, status, message)
    if row["cloud"] == "azure":
        from sky_core.clouds.azure.errors import refusal

        return refusal(code, message, status=None if late else status)
    from sky_core.clouds.gcp import errors as gcp_errors

    if row.get("api") == "tpu":
        return _sort_tpu(row)
    return gcp_errors.sort_code(code, status, message)


@pytest.mark.parametrize("row", [row for row in ROWS if "away" in row], ids=lambda row: row["code"])
def test_what_a_good_login_is_answered_away_from_home_is_about_that_region(row: dict[str, Any]) -> None:
    """A region that is not enabled answers a good login as it would a bad one; only a look at home tells them apart."""
    from botocore.exceptions import ClientError

    from sky_core.clouds.aws.session import Session
    from sky_core.config import CloudConfig

    details = {"Code": row["code"], "Message": row["message"]}
    answer: Any = {"Error": details, "ResponseMetadata": {"HTTPStatusCode": row["status"]}}
    for at_home, scope in ((True, row["away"]), (False, row["scope"])):
        session = Session(CloudConfig())
        session.is_known = lambda works=at_home: works  # type: ignore[method-assign, misc]
        with pytest.raises(AuthError) as refused, session.errors("eu-south-2"):
            raise ClientError(answer, "RunInstances")
        assert refused.value.scope == scope


@pytest.mark.parametrize("row", [row for row in ROWS if row["error"] in BLOCKING], ids=_name)
def test_what_is_outside_of_a_refusals_reach_is_left_alone(row: dict[str, Any]) -> None:
    if row.get("own"):
        pytest.skip("nothing is learned from it")
    kind: Any = BLOCKING[row["error"]]
    here = Observation(1.0, "it", "west", "west-a", "big", "spot", kind, row["scope"], accelerator="T4")
    if row["scope"] == "reservation":
        here = replace(here, market="on-demand", reservation="cr-0")
    blocks = blocked([here], now=2.0, ttl_s=60.0)
    assert any(block.covers(here) for block in blocks)
    for outside in OUTSIDE[row["scope"]]:
        elsewhere = replace(here, **outside)
        assert not any(block.covers(elsewhere) for block in blocks), outside


@pytest.mark.parametrize("row", [row for row in ROWS if row["error"] in BLOCKING], ids=_name)
def test_a_refusal_of_what_is_reserved_says_nothing_of_what_is_sold_to_all(row: dict[str, Any]) -> None:
    """But for rights, for what never works, and for what else the request names."""
    error = sort(row)
    assert error is not None
    for reservation in (None, "cr-0"):
        before = getattr(error, "scope", None)
        try:
            with aimed(LaunchRequest("t", "big", "west", "west-a", use_spot=False, reservation=reservation)):
                raise error
        except CloudError:
            pass
        narrowed = reservation and not error.own and before != "type" and not isinstance(error, AuthError)
        assert getattr(error, "scope", None) == ("reservation" if narrowed else before)


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


@pytest.mark.parametrize("row", ROWS, ids=_name)
def test_a_refusal_says_what_it_says_and_no_more(row: dict[str, Any]) -> None:
    error = sort(row)
    if row["error"] == "none":
        assert error is None, "the machine's end says nothing of its launch"
        return
    assert type(error).__name__ == row["error"], error
    assert getattr(error, "scope", None) == row.get("scope"), error
    assert getattr(error, "own", None) == row.get("own", False), "whether others may have what was refused"
