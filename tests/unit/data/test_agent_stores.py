"""Which account and path a URL leads to, by which options, and what a machine needs for it."""

from __future__ import annotations

from typing import Any

import pytest

from sky_core.remote.agent.data.stores import logins, packages, place_of
from sky_core.remote.executor import JobRequest


@pytest.mark.parametrize(
    "url",
    [
        "abfs://container@account.dfs.core.windows.net/a/b",
        "abfss://container@account.dfs.core.windows.net/a/b/",
        "az://account/container/a/b",
    ],
)
def test_an_azure_url_names_its_account(url: str) -> None:
    """With a login of one's own the options do not."""
    place = place_of(url, {"abfs": {"anon": False}})
    assert (place.options["account_name"], place.path) == ("account", "container/a/b")


def test_of_many_signatures_the_containers_is_picked() -> None:
    options = {"abfs": {"signatures": {"data@mine": "sig=1", "data@theirs.dfs.core.windows.net": "sig=2"}}}
    assert place_of("az://mine/data/x", options).options["sas_token"] == "sig=1"
    assert place_of("abfs://data@theirs.dfs.core.windows.net/x", options).options["sas_token"] == "sig=2"
    with pytest.raises(PermissionError, match="lent nothing for abfs://other/x"):
        place_of("abfs://other/x", options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("s3", {}),
        ("s3", {"key": "k", "secret": "s", "token": "t", "endpoint_url": "http://x"}),
        ("gs", {"project": "p"}),
        ("gs", {"access_token": "t"}),
        ("abfs", {"identity": "/subscriptions/x"}),
        ("abfs", {"signatures": {}, "endpoint": "http://x"}),
        ("abfs", {"connection_string": "BlobEndpoint=http://x;"}),
    ],
)
def test_what_clouds_lend_obstore_opens(kind: str, options: dict[str, Any]) -> None:
    assert logins.serves(kind, options)
    assert packages(f"{kind}://bucket/x", {kind: options}, "theirs") == ("obstore",)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("s3", {"client_kwargs": {"region_name": "x"}}),
        ("gs", {"token": "/a/key.json"}),
        ("gs", {"token": "anon"}),
        ("abfs", {"anon": False}),
        ("abfs", {"account_name": "x"}),
        ("hdfs", {}),
    ],
)
def test_for_options_of_fsspecs_own_there_is_fsspec(kind: str, options: dict[str, Any]) -> None:
    assert not logins.serves(kind, options)
    assert packages(f"{kind}://bucket/x", {kind: options}, "theirs") == ("fsspec", "theirs")


def test_a_machine_is_brought_what_its_urls_take() -> None:
    def needed(**options: dict[str, object]) -> list[str]:
        outputs = {"a": "s3://bucket/x", "b": "az://account/bucket/x"}
        request = JobRequest("job", 1, "aws", run="true", outputs=outputs, storage_options=options)
        return [requirement.partition("==")[0] for requirement in request.requirements()]

    lent: dict[str, object] = {"signatures": {"bucket@account": "sig=1"}}
    assert needed(s3={}, az=lent, abfs=lent) == ["obstore"]
    assert needed(s3={"use_ssl": False}, abfs=lent) == ["fsspec", "obstore", "s3fs"]


def test_where_a_buckets_region_is_asked_for() -> None:
    assert logins.address("data") == "https://data.s3.amazonaws.com/"
    assert logins.address("data.example") == "https://s3.amazonaws.com/data.example"
