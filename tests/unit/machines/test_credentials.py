"""Which clouds look usable, and what is said of those that do not."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sky_core.clouds import connect
from sky_core.clouds.credentials import login_of, reachable, same_host, why_unusable
from sky_core.config import CloudConfig, Settings
from sky_core.errors import NotConnected


class Uninstalled:
    """An import hook under which some packages are not there."""

    def __init__(self, *packages: str) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name.split(".")[0] in self._packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@pytest.fixture
def without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("boto3", "botocore")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("sky_core.clouds.aws")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Uninstalled("boto3", "botocore"), *sys.meta_path])
    assert importlib.util.find_spec("json") is not None


def settings(tmp_path: Path) -> Settings:
    return Settings.load({"SKYLOOM_HOME": str(tmp_path)})


def test_a_cloud_whose_sdk_is_missing_is_left_out_and_says_how_to_get_it(without_boto3: None) -> None:
    why = why_unusable("aws", CloudConfig(enabled=True), {})
    assert why is not None
    assert "boto3" in why
    assert "pip install 'skyloom[aws]'" in why
    assert why_unusable("gcp", CloudConfig(enabled=True), {}) is None


def test_connecting_it_is_refused_with_the_cure(without_boto3: None, tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match=r"boto.* is not installed.*skyloom\[aws\]"):
        connect("aws", settings(tmp_path))


def test_a_cloud_that_nobody_provides_cannot_be_connected(tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match="'lab'"):
        connect("lab", settings(tmp_path))


@pytest.mark.parametrize("name", ["gcp", "azure"])
def test_a_cloud_needs_an_account(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AZURE_SUBSCRIPTION_ID", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    found = settings(tmp_path)
    logged_in = found.clouds[name].model_copy(update={"credentials": {"token": SecretStr("x")}})
    with pytest.raises(NotConnected, match="account"):
        connect(name, found.model_copy(update={"clouds": {**found.clouds, name: logged_in}}))


def test_a_host_can_reach_what_it_has_credentials_for_though_its_own_jobs_may_not_go_there(tmp_path: Path) -> None:
    here, key = settings(tmp_path), {"key": SecretStr("x")}
    clouds = {
        "aws": CloudConfig(credentials=key),
        "azure": CloudConfig(enabled=False),
        "gcp": CloudConfig(enabled=False, credentials=key),
        "nowhere": CloudConfig(credentials=key),
    }
    assert reachable(here.model_copy(update={"clouds": clouds})) == {"aws", "gcp"}


def test_a_login_is_one_of_its_host_and_of_what_it_logs_in_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clouds = {"aws": CloudConfig()}
    here, there = (Settings(home=tmp_path / home, store_url="sqlite://", clouds=clouds) for home in ("here", "there"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    before, elsewhere = login_of("aws", here), login_of("aws", there)
    assert before == login_of("aws", here)
    assert not same_host(before, elsewhere)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "two")
    assert login_of("aws", here) != before
    assert same_host(login_of("aws", here), before), "nobody is waited for who is not there"


def test_a_new_login_by_single_sign_on_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "work")
    here, logins = Settings(home=tmp_path, store_url="sqlite://", clouds={"aws": CloudConfig()}), set[str]()
    token = tmp_path / ".aws/sso/cache/0123.json"
    token.parent.mkdir(parents=True)
    for at in (0, 100, 200):
        if at:
            token.write_text("{}")
            os.utime(token, (at, at))
        logins.add(login_of("aws", here))
    assert len(logins) == 3
    assert why_unusable("aws", CloudConfig(), {"HOME": str(tmp_path)}) is not None, "a cache alone logs nobody in"
