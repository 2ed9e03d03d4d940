"""Whoever drives by IAM Identity Center has sessions that end, and logs in anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from botocore.tokens import SSOTokenProvider
from botocore.utils import JSONFileCache, SSOTokenLoader

from sky_core.clouds import audit, connect
from sky_core.errors import AuthError, NoFeasibleOffering
from sky_sandbox import client
from tests.conftest import Sandbox, start_sandbox
from tests.sandbox.driving import home_of, small

LIFE_S = 25.0  # of every login; the job takes longer
START = "https://sandbox.awsapps.com/start"
Login = Callable[[], None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sso"), account="sso", login_s=LIFE_S)
    yield running
    client.down(running.home)


@pytest.fixture
def log_in(world: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """What ``aws sso login --use-device-code`` does, for a user who has not logged in yet. (It is not on PyPI.)"""
    cache = tmp_path / "user/.aws/sso/cache"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(world.home / "sandbox/aws.ini"))
    monkeypatch.setenv("AWS_PROFILE", "sandbox")
    monkeypatch.setattr(SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))

    def log_in() -> None:
        client = Session().create_client("sso-oidc", "us-east-1", config=Config(signature_version=UNSIGNED))
        who = client.register_client(clientName="aws", clientType="public")
        known = {"clientId": who["clientId"], "clientSecret": who["clientSecret"]}
        asked = client.start_device_authorization(startUrl=START, **known)
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        got = client.create_token(grantType=grant, deviceCode=asked["deviceCode"], **known)
        ends = datetime.now(UTC) + timedelta(seconds=got["expiresIn"])
        token = {"startUrl": START, "region": "us-east-1", "accessToken": got["accessToken"]}
        SSOTokenLoader(JSONFileCache(str(cache))).save_token(
            START, {**token, "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}, session_name="sandbox"
        )

    return log_in


def test_a_job_outlives_the_login_that_it_was_started_with(world: Sandbox, tmp_path: Path, log_in: Login) -> None:
    with pytest.raises(AuthError, match="run: aws sso login"):
        connect("aws", world.settings).check()
    log_in()
    ends = time.monotonic() + LIFE_S
    with home_of(world, tmp_path / "home", "poll_s = 1\n") as home:
        job = home.submit(small(run=f"sleep {LIFE_S + 10:.0f}"))
        home.drive(job, stop=lambda: home.store.job(job.id).state == "running")
        assert time.monotonic() < ends, "launched with the first login"
        home.drive(job, stop=lambda: time.monotonic() > ends + 12)
        assert not home.store.job(job.id).over, (home.store.job(job.id), home.store.events(job.id)[-6:])
        with pytest.raises(AuthError, match="run: aws sso login"):
            connect("aws", world.settings).check()
        log_in()
        [over] = home.drive(job)
        assert over.state == "succeeded", home.store.events(job.id)[-3:]
        assert len(world.launches(job.id)) == 1
    assert not world.live()


def test_what_an_ended_login_was_refused_a_new_one_is_asked_for(
    world: Sandbox, tmp_path: Path, log_in: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))  # where its cache is
    with home_of(world, tmp_path / "home") as home:
        [refused] = home.drive(home.submit(small(), key="ended"))
        assert refused.state == "failed"
        assert "run: aws sso login" in refused.result["error"]
        with pytest.raises(NoFeasibleOffering, match="skyloom check --deep tells what a login lacks"):
            home.submit(small(), key="still ended")
        log_in()
        [job] = home.drive(home.submit(small(), key="anew"))
        assert job.state == "succeeded", job.result


def test_the_role_of_a_login_cannot_be_lent(world: Sandbox, log_in: Login) -> None:
    log_in()
    config = world.settings.clouds["aws"].model_copy(update={"machine_role": None})
    cloud = connect("aws", world.settings.model_copy(update={"clouds": {"aws": config}}))
    cloud.check()
    with pytest.raises(AuthError, match="set machine_role"):
        cloud.lend([], "aws")


def test_the_rights_of_a_login_are_those_of_its_role(world: Sandbox, log_in: Login) -> None:
    log_in()
    found = {one.about: one for one in audit("aws", world.settings, "us-east-1")}
    assert found["permissions"].says.startswith("all "), "IAM knows the role, whose path the login does not tell"
    world.control.account(forbidden=["iam:GetRole"])
    try:
        found = {one.about: one for one in audit("aws", world.settings, "us-east-1")}
        assert found["permissions"].ok
        assert "grant iam:GetRole" in found["permissions"].says
    finally:
        world.control.account("sso")


def test_a_role_with_a_path_lends_itself(world: Sandbox, log_in: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in()
    role = "arn:aws:iam::123456789012:role/teams/ml/skyloom-trainer"
    sts = Session(profile="sandbox").create_client(
        "sts", "us-east-1", endpoint_url=world.settings.clouds["aws"].endpoint
    )
    with pytest.raises(ClientError, match="not authorized"):
        sts.assume_role(RoleArn=role.replace("teams/ml/", ""), RoleSessionName="drives")
    ours = sts.assume_role(RoleArn=role, RoleSessionName="drives")["Credentials"]
    names = {"AccessKeyId": "ACCESS_KEY_ID", "SecretAccessKey": "SECRET_ACCESS_KEY", "SessionToken": "SESSION_TOKEN"}
    for name, variable in names.items():
        monkeypatch.setenv(f"AWS_{variable}", ours[name])
    monkeypatch.delenv("AWS_PROFILE")
    config = world.settings.clouds["aws"].model_copy(update={"machine_role": None})
    cloud = connect("aws", world.settings.model_copy(update={"clouds": {"aws": config}}))
    assert cloud.lend([], "aws").options["token"]


def test_a_session_token_ends(world: Sandbox, log_in: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in()
    session = Session().get_credentials().get_frozen_credentials()  # as ``aws configure export-credentials`` prints it
    ends = time.monotonic() + LIFE_S
    monkeypatch.delenv("AWS_PROFILE")
    for name, value in (("ACCESS_KEY_ID", session.access_key), ("SECRET_ACCESS_KEY", session.secret_key)):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", session.token)
    cloud = connect("aws", world.settings)
    cloud.check()
    assert cloud.find({"skyloom-cluster": "none"}).unreachable == {}
    time.sleep(max(0.0, ends - time.monotonic()) + 1)
    for look in (cloud.check, lambda: cloud.find({"skyloom-cluster": "none"}), lambda: cloud.storage("us-east-1")):
        with pytest.raises(AuthError, match="the login has ended"):
            look()
