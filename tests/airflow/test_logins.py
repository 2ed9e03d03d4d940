"""The clouds' own connections reach planning and the driver, and are written nowhere but where Google wants a file."""

import json
import os
import re
from pathlib import Path

import pytest

from sky_airflow.hooks.sky import SkyHook
from sky_core.broker import spawn
from sky_core.errors import SpecError
from sky_core.planner.market import usable_clouds

SECRETS = ("aws-secret", "google-secret", "azure-secret")
LOGINS = {
    "aws": {"conn_type": "aws", "login": "AKIA", "password": "aws-secret"},
    "gcp": {"conn_type": "google_cloud_platform",
            "extra": {"keyfile_dict": {"private_key": "google-secret"}, "project": "p"}},
    "azure": {"conn_type": "azure", "login": "id", "password": "azure-secret",
              "extra": {"tenantId": "t", "subscriptionId": "s"}},
}  # fmt: skip


@pytest.fixture
def connections(tmp_path, monkeypatch):
    """Airflow with a connection to each cloud and one that names them; no other login."""
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [*os.environ]
    for name in names:
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    for cloud, said in LOGINS.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_MY_{cloud.upper()}", json.dumps(said))

    def named(*clouds, **more):
        extra = {f"{cloud}_conn_id": f"my_{cloud}" for cloud in clouds} | more
        said = {"conn_type": "skyloom", "host": str(tmp_path / "home"), "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SKY", json.dumps(said))
        return SkyHook("sky").broker.settings

    return named


def test_a_cloud_is_planned_with_if_a_connection_logs_in_to_it(connections):
    assert usable_clouds(connections()) == []
    assert usable_clouds(connections("azure")) == ["azure"]
    assert usable_clouds(connections("aws", "gcp", "azure")) == ["aws", "azure", "gcp"]


def test_the_driver_is_given_them_and_nothing_shows_them(connections):
    settings = connections("aws", "gcp", "azure")
    spawn.ensure_driver(settings)
    _, driver = list(spawn._started.values())[-1]
    try:
        entries = Path(f"/proc/{driver.pid}/environ").read_text().split("\0")
        found = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    finally:
        driver.kill()
        driver.wait()
    wanted = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "aws-secret", "AZURE_CLIENT_ID": "id",
              "AZURE_CLIENT_SECRET": "azure-secret", "AZURE_TENANT_ID": "t", "AZURE_SUBSCRIPTION_ID": "s",
              "GOOGLE_CLOUD_PROJECT": "p"}  # fmt: skip
    assert {name: found.get(name) for name in wanted} == wanted
    key = Path(found["GOOGLE_APPLICATION_CREDENTIALS"])
    assert json.loads(key.read_text()) == {"private_key": "google-secret"}
    assert key.stat().st_mode & 0o777 == 0o600
    assert not any(secret in repr(settings) for secret in SECRETS)
    others = [file for file in settings.home.rglob("*") if file.is_file() and file != key]
    assert not [file for file in others for secret in SECRETS if secret.encode() in file.read_bytes()]
    assert not {"AWS_SECRET_ACCESS_KEY", "AZURE_CLIENT_SECRET"} & set(os.environ), (
        "this process's own stay as they were"
    )


def test_a_connection_that_cannot_be_handed_on_says_so(connections, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_ROLE", json.dumps({"conn_type": "aws", "extra": {"role_arn": "arn:aws:iam::1:role/x"}})
    )
    with pytest.raises(SpecError, match="role_arn: what it lends ends while jobs run"):
        connections(aws_conn_id="role")
    monkeypatch.setenv("AIRFLOW_CONN_NONE", json.dumps({"conn_type": "aws"}))
    with pytest.raises(SpecError, match="aws_conn_id: connection none: there is no login in it"):
        connections(aws_conn_id="none")


def test_a_connection_allows_regions_and_money_within_what_the_home_allows(connections, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text('[clouds.aws]\nregions = ["eu-*", "us-east-1"]\n')
    said = connections(regions="eu-west-*, us-*, gcp/europe-*", usd_per_job="2.5", usd_per_day=100)
    assert said.clouds["aws"].regions == ("eu-west-*", "us-east-1")
    assert said.clouds["gcp"].regions == ("eu-west-*", "us-*", "europe-*")
    assert (said.granted.usd_per_job, said.granted.usd_per_run, said.granted.usd_per_day) == (2.5, None, 100)
    assert said.granted.by == "connection sky"
    only = connections(regions="gcp/europe-*")
    assert only.enabled_clouds() == ("gcp",)


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"usd_per_run": "much"}, "connection sky: usd_per_run: 'much' is not an amount"),
     ({"usd_per_job": -1}, "usd_per_job: -1 is not an amount"),
     ({"regions": "aaws/eu-*"}, "connection sky: regions: 'aaws/eu-*': no cloud 'aaws'"),
     ({"regions": "mars/x"}, "no cloud 'mars'")],
)  # fmt: skip
def test_what_a_connection_cannot_mean(connections, extra, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        connections(**extra)


def test_a_connection_for_all_who_name_none(connections, monkeypatch):
    connections(usd_per_job=3)
    assert SkyHook().settings.granted.usd_per_job is None
    monkeypatch.setenv("AIRFLOW__SKYLOOM__SKY_CONN_ID", "sky")
    assert SkyHook().settings.granted.usd_per_job == 3
