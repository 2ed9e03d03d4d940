"""Other people's clients judge the sandbox: rclone, the AWS CLI and gsutil, each in the version of ``judges*.txt``."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.outside import JUDGES, REMOTES
from sky_sandbox.server import Listener
from sky_sandbox.storage import app
from sky_sandbox.tls import make_certificates
from tests.conftest import Sandbox

SMALL, LARGE_BYTES = 500, 200_000_000


def run(program: str, *arguments: str | Path, **environ: str) -> str:
    """What a client prints.

    Raises:
        AssertionError: if it fails.
    """
    path = JUDGES / program
    assert path.exists(), "run: make setup"
    env = {"PATH": os.environ["PATH"], "HOME": os.devnull, **environ}
    done = subprocess.run([path, *arguments], env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files and a large one."""
    folder, chance = tmp_path_factory.mktemp("files"), random.Random(1)
    for number in range(SMALL):
        (folder / f"small {number} é").write_bytes(chance.randbytes(chance.randrange(100)))
    with (folder / "large").open("wb") as file:
        for _ in range(LARGE_BYTES // 1_000_000):
            file.write(chance.randbytes(1_000_000))
    return folder


@pytest.mark.parametrize("remote", ["s3", "gs", "abfs"])
def test_rclone_finds_no_difference_in_what_it_copied(endpoint: str, files: Path, tmp_path: Path, remote: str) -> None:
    config = tmp_path / "rclone.conf"
    config.write_text(REMOTES.format(url=endpoint))
    there = f"{remote}:copied-{remote}"
    run("rclone", "--config", config, "copy", files, there)
    said = run("rclone", "--config", config, "check", "--download", files, there)
    assert f"{SMALL + 1} matching files" in said
    assert " 0 differences found" in said
    run("rclone", "--config", config, "purge", there)


def aws(sandbox: Sandbox, *arguments: str, endpoint: str | None = None) -> Any:
    """What the AWS CLI answers."""
    config = sandbox.settings.clouds["aws"]
    secret = {name: value.get_secret_value() for name, value in config.credentials.items()}
    said = run(
        "aws", "--endpoint-url", endpoint or str(config.endpoint), *arguments,
        AWS_ACCESS_KEY_ID=secret["access_key_id"], AWS_SECRET_ACCESS_KEY=secret["secret_access_key"],
        AWS_DEFAULT_REGION="us-east-1", AWS_DEFAULT_OUTPUT="json", AWS_EC2_METADATA_DISABLED="true",
    )  # fmt: skip
    return json.loads(said) if said.startswith("{") else said


def test_the_aws_cli_lists_and_copies(sandbox: Sandbox, endpoint: str, tmp_path: Path) -> None:
    running = "Name=instance-state-name,Values=pending,running"  # others that have ended are shown for a while
    assert aws(sandbox, "ec2", "describe-instances", "--filters", running)["Reservations"] == []
    (tmp_path / "a").write_bytes(b"a" * 9_000_000)  # more than it sends in one part
    aws(sandbox, "s3", "cp", str(tmp_path / "a"), "s3://jobs/cli/a", endpoint=endpoint)
    aws(sandbox, "s3", "cp", "s3://jobs/cli/a", str(tmp_path / "b"), endpoint=endpoint)
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    assert "9000000 a" in aws(sandbox, "s3", "ls", "s3://jobs/cli/", endpoint=endpoint)


def test_a_dry_run_of_the_aws_cli_would_have_succeeded_and_launches_nothing(sandbox: Sandbox) -> None:
    ubuntu = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    image = aws(sandbox, "ssm", "get-parameter", "--name", ubuntu)["Parameter"]["Value"]
    with pytest.raises(AssertionError, match=r"DryRunOperation.*would have succeeded"):
        aws(sandbox, "ec2", "run-instances", "--image-id", image, "--instance-type", "t3.small", "--dry-run")
    assert sandbox.live() == []


GSUTIL = """
[Credentials]
gs_json_host = 127.0.0.1
gs_json_port = {port}
gs_host = 127.0.0.1
gs_port = {port}
[Boto]
ca_certificates_file = {ca}
[GSUtil]
prefer_api = json
state_dir = {state}
default_project_id = p
"""


@pytest.mark.skipif(not (JUDGES / "gsutil").exists(), reason="gsutil could not be built here by make setup")
def test_gsutil_lists_and_copies(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")  # it speaks nothing but https
    port = Listener(app(tmp_path / "objects"), certificates).port
    config = tmp_path / "boto"
    config.write_text(GSUTIL.format(port=port, ca=certificates.ca, state=tmp_path / "state"))
    small = tmp_path / "small"
    small.mkdir()
    for number in range(9):
        (small / f"file {number} é").write_bytes(b"x" * number)
    (tmp_path / "large").write_bytes(random.Random(1).randbytes(9_000_000))  # more than it sends at once

    def gsutil(*arguments: str | Path) -> str:
        return run("gsutil", *arguments, BOTO_CONFIG=str(config))

    gsutil("mb", "gs://judged")
    gsutil("-m", "cp", "-r", small, tmp_path / "large", "gs://judged/x")
    listed = gsutil("ls", "-l", "gs://judged/**")
    assert "TOTAL: 10 objects, 9000036 bytes" in listed
    assert "gs://judged/x/small/file 8 é" in listed
    gsutil("cp", "gs://judged/x/large", "gs://judged/y/large")
    gsutil("cp", "gs://judged/y/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
