"""Whoever drives has tokens that end: a service account's on Google, a managed identity's on Azure."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from sky_core.clouds import connect
from sky_core.clouds.base import Cloud, Reach
from sky_core.errors import AuthError
from sky_core.remote.artifacts import fetch
from tests.conftest import Sandbox
from tests.sandbox.driving import home_of
from tests.sandbox.jobs.test_lent import CHECKPOINT, LOOK, task

LIFE_S = 15.0  # of every token, for five minutes
WORK_S = 4 * LIFE_S
SANDBOX = {"account": "sso", "login_s": LIFE_S}
REGIONS = {"gcp": "us-central1", "azure": "eastus"}
CURES = {"gcp": "with a service account, check its key", "azure": "az login"}


@pytest.fixture(autouse=True)
def _logged_in(world: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/sandbox.md says to export."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(world.home / "sandbox/google.json"))
    for line in (world.home / "sandbox/azure.env").read_text().splitlines():
        monkeypatch.setenv(*line.removeprefix("export ").split("=", 1))


def connected(world: Sandbox, name: str) -> Cloud:
    assert not world.settings.clouds[name].credentials, "the settings have none, the SDK finds them"
    return connect(name, world.settings)


def test_jobs_outlive_the_tokens_of_whoever_drives_and_find_nothing_of_the_login(
    world: Sandbox, tmp_path: Path
) -> None:
    end = "echo done >$SKY_OUTPUT_SEEN/end; cp $SKY_CHECKPOINT_DIR/n $SKY_OUTPUT_SEEN/"
    run = f"{CHECKPOINT}; {LOOK} sleep {WORK_S:.0f}; {end}"
    key = json.loads((world.home / "sandbox/google.json").read_text())["private_key"].splitlines()[1]
    header = (world.home / "sandbox/azure.env").read_text().rpartition("=")[2].strip()
    with home_of(world, tmp_path / "home", "poll_s = 1\n") as home:
        jobs = [home.submit(task(cloud, run), f"run-{cloud}") for cloud in REGIONS]
        for job in home.drive(*jobs):
            assert job.state == "succeeded", home.store.events(job.id)[-3:]
            assert len(world.launches(job.id)) == 1
            cloud = job.task.removeprefix("on-")
            options = {scheme: home.driving.clouds[cloud].storage_options() for scheme in ("abfs", "gs")}
            seen = fetch(job.result["outputs"]["seen"]["uri"], tmp_path / cloud, options)
            assert (seen / "end").read_text() == "done\n"
            assert (seen / "n").read_text() == "kept\n"
            found = "".join(file.read_text(errors="replace") for file in seen.iterdir())
            for own in (key, header, "PRIVATE KEY", "ya29.c.", "azure."):
                assert own not in found, f"{own} on a machine of {cloud}"
            assert "SKY_JOB_ID" in found, "it did look"
    assert not world.live()


@pytest.mark.parametrize("name", REGIONS)
def test_a_provider_goes_on_when_its_token_has_ended(world: Sandbox, name: str) -> None:
    cloud = connected(world, name)
    ends = time.monotonic() + LIFE_S + 2
    cloud.check()
    place = Reach(f"{cloud.storage(REGIONS[name]).url}/a", write=True)
    time.sleep(max(0.0, ends - time.monotonic()))
    cloud.check()
    assert cloud.find({"skyloom-cluster": "none"}).unreachable == {}
    assert cloud.lend([place], name).ends_at is not None


@pytest.mark.parametrize("name", REGIONS)
def test_a_token_that_nobody_gave_is_refused_and_the_cure_named(world: Sandbox, name: str) -> None:
    forged = world.settings.clouds[name].model_copy(update={"credentials": {"token": SecretStr("forged")}})
    cloud = connect(name, world.settings.model_copy(update={"clouds": {name: forged}}))
    looks = [cloud.check, lambda: cloud.find({"skyloom-cluster": "none"})]
    looks += [lambda: cloud.storage("us-central1")] if name == "gcp" else []
    for look in looks:
        with pytest.raises(AuthError, match=CURES[name]):
            look()


def test_a_key_that_is_none_of_the_accounts_gives_no_token(
    world: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads((world.home / "sandbox/google.json").read_text())
    other = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "old.json").write_text(json.dumps({**told, "private_key": other.decode()}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "old.json"))
    cloud = connected(world, "gcp")
    with pytest.raises(AuthError, match="check its key"):
        cloud.check()
    with pytest.raises(AuthError, match="Invalid JWT Signature"):
        cloud.storage("us-central1")


def test_an_identity_is_nobodys_who_does_not_know_its_header(world: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "guessed")
    with pytest.raises(AuthError, match="az login"):
        connected(world, "azure").check()
