"""Which account and path a URL leads to."""

from __future__ import annotations

import pytest

from sky_core.remote.agent.data import stores


@pytest.mark.parametrize(
    "url",
    [
        "abfs://container@account.dfs.core.windows.net/a/b",
        "abfss://container@account.dfs.core.windows.net/a/b/",
        "az://account/container/a/b",
    ],
)
def test_an_azure_url_names_its_account(url: str) -> None:
    """With a login of one's own the options do not: opening it must not ask for a connection string."""
    filesystem, path = stores.connect(url, {"abfs": {"anon": False}})
    assert (filesystem.account_name, path) == ("account", "container/a/b")
