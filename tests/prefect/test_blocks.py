"""Skyloom's block: a flow's store, key and logins come from Prefect instead of from the environment."""

from __future__ import annotations

import json
import os
import stat
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import SecretStr

from sky_core.errors import SpecError
from sky_core.store import Store
from sky_prefect import SkyloomConfig, SkyTaskRunner, resources
from sky_prefect.blocks.logins import login_of

VARIABLES = ("SKYLOOM_HOME", "SKYLOOM_PROFILE", "SKYLOOM_STORE", "SKYLOOM_KEY", "SKYLOOM_CLOUDS")
KEY = "canaryOfAws0123456789"


class AwsCredentials(Block):
    """As prefect-aws has it."""

    _block_type_slug = "aws-credentials"
    aws_access_key_id: str | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_session_token: str | None = None
    profile_name: str | None = None
    assume_role_arn: str | None = None


class GcpCredentials(Block):
    """As prefect-gcp has it."""

    _block_type_slug = "gcp-credentials"
    service_account_file: Path | None = None
    service_account_info: SecretDict | None = None
    project: str | None = None


class AzureContainerInstanceCredentials(Block):
    """As prefect-azure has it."""

    client_id: str | None = None
    tenant_id: str | None = None
    client_secret: SecretStr | None = None


def test_the_clouds_own_blocks_log_in(tmp_path):
    aws = AwsCredentials(aws_access_key_id="AK", aws_secret_access_key=SecretStr(KEY))
    assert login_of("aws-credentials/a", aws, tmp_path) == {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": KEY}
    azure = AzureContainerInstanceCredentials(client_id="c", tenant_id="t", client_secret=SecretStr("s"))
    assert login_of("azure-container-instance-credentials/a", azure, tmp_path) == {
        "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s", "AZURE_TENANT_ID": "t",
    }  # fmt: skip
    gcp = GcpCredentials(service_account_info=SecretDict({"type": "service_account"}), project="p")
    login = login_of("gcp-credentials/a", gcp, tmp_path)
    file = Path(login["GOOGLE_APPLICATION_CREDENTIALS"])
    assert json.loads(file.read_text()) == {"type": "service_account"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert login["GOOGLE_CLOUD_PROJECT"] == "p"


@pytest.mark.parametrize(
    ("name", "block", "says"),
    [
        ("aws-credentials/a", AwsCredentials(), "no login in it"),
        ("aws-credentials/a", AwsCredentials(assume_role_arn="arn:aws:iam::1:role/x"), "assume_role_arn"),
        ("slack-webhook/a", AwsCredentials(), "slack-webhook is none of aws-credentials, gcp-credentials"),
    ],
)
def test_a_block_that_cannot_log_in_is_refused_by_name(tmp_path, name, block, says):
    with pytest.raises(SpecError, match=says):
        login_of(name, block, tmp_path)


def test_prefect_finds_the_block_with_its_collections():
    (found,) = entry_points(group="prefect.collections", name="sky_prefect")
    assert found.load().SkyloomConfig is SkyloomConfig


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_flow_finds_its_skyloom_by_a_block(world, here, server, own_store_url, monkeypatch):
    AwsCredentials(aws_access_key_id="AK", aws_secret_access_key=SecretStr(KEY)).save("of-a-test")
    team = SkyloomConfig(
        home=str(world.home), store=SecretStr(own_store_url), profile="sandbox", clouds=["aws"],
        credentials=["aws-credentials/of-a-test"],
    )  # fmt: skip
    team.save("of-a-test")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    settings = SkyloomConfig.load("of-a-test").settings()
    assert settings.login["AWS_SECRET_ACCESS_KEY"].get_secret_value() == KEY
    assert KEY not in repr(settings) + repr(team)
    assert own_store_url not in repr(team)

    @task
    @resources(cloud="aws", region="us-east-1", instance_type="t3.small", hours=0.1)
    def plus_one(x):
        return x + 1

    @flow(task_runner=SkyTaskRunner(config="of-a-test"))
    async def found():
        return plus_one.submit(1).result()

    import asyncio

    assert asyncio.run(found()) == 2
    assert [job.state for job in Store(own_store_url).jobs()] == ["succeeded"]
    assert "SKYLOOM_STORE" not in os.environ


def test_a_flow_on_a_machine_needs_a_store_that_outlives_it(monkeypatch, tmp_path):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKY_JOB_ID", "job-1")
    with SkyTaskRunner() as runner, pytest.raises(SpecError, match=r"machine of job-1, whose store ends with it"):
        runner.broker  # noqa: B018
    with SkyTaskRunner(config=SkyloomConfig(store=f"sqlite:///{tmp_path}/team.db")) as runner:
        assert runner.broker.settings.home == tmp_path / "home"
    monkeypatch.setenv("SKYLOOM_STORE", f"sqlite:///{tmp_path}/team.db")
    with SkyTaskRunner() as runner:
        assert runner.broker.settings.store_url.endswith("team.db")
