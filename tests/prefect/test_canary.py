"""No secret of Prefect's or of a cloud leaves the flow's process, except a machine's own lent login."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from prefect import flow, get_run_logger, task
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_KEY, temporary_settings
from pydantic import SecretStr

from sky_prefect import SkyTaskRunner, resources
from sky_sandbox.aws.api import SECRET_KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SMALL = {"cloud": "aws", "region": "us-east-1", "instance_type": "t3.small", "hours": 0.1}
CANARIES = {
    "PREFECT_API_AUTH_STRING": "canary:of-a-server-of-ones-own",
    "AWS_SECRET_ACCESS_KEY": "canaryOfAws0123456789",
    "AZURE_CLIENT_SECRET": "canaryOfAzure0123456789",
    "GOOGLE_OAUTH_ACCESS_TOKEN": "canaryOfGoogle0123456789",
    "DATABASE_PASSWORD": "canaryOfAStranger0123456789",
}
KEY = "pnu_canaryOfPrefect0123456789"  # how keys of Prefect's cloud begin
SECRETS = [*CANARIES.values(), KEY, SECRET_KEY]
GIVEN = "canaryOfAnArgument0123456789"  # is on the machine, where the function may have it, and nowhere else


def within(content, halves):
    """Which of the secrets, each given in two halves, are in some bytes."""
    return [one[0][:6] for one in halves if "".join(one).encode() in content]


@task
@resources(**SMALL)
def looks_around(halves):
    """What a machine knows: files of its home and /tmp, environments and command lines of all that runs there."""
    import os
    from pathlib import Path

    get_run_logger().info("looking around")
    places = [path for top in (Path.home(), Path("/tmp")) for path in top.rglob("*") if path.is_file()]
    places += [path for name in ("environ", "cmdline") for path in Path("/proc").glob(f"[0-9]*/{name}")]
    found, seen = [], 0
    for path in places:
        try:
            content = path.read_bytes()
        except OSError:
            continue
        seen += 1
        found += [(str(path), one[0][:6]) for one in halves if "".join(one).encode() in content]
    found += [(name, one[0][:6]) for name, value in os.environ.items() for one in halves if "".join(one) in value]
    return seen, found


@task(retries=1, persist_result=True)
@resources(**SMALL)
def fails(halves):
    raise ValueError("as errors do, this one carries where it was raised")


@task
@resources(**SMALL)
def logs_in(block, password):
    get_run_logger().info("logging in with %s and %s", block, password)
    return len(block.get()), len(password.get_secret_value())


@flow(task_runner=SkyTaskRunner(), persist_result=True)
def looks(halves):
    fails.submit(halves).wait()
    secret = "".join(halves[-1])
    assert logs_in.submit(Secret(value=secret), SecretStr(secret)).result() == (len(secret), len(secret))
    return looks_around.submit(halves).result()


def test_no_secret_is_on_a_machine_in_the_store_in_a_log_or_at_the_server(world, broker, server, monkeypatch, tmp_path):
    halves = [(secret[: len(secret) // 2], secret[len(secret) // 2 :]) for secret in [*SECRETS, GIVEN]]
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_KEY", KEY)
    with temporary_settings({PREFECT_API_KEY: KEY}):
        seen, found = looks(halves)
    assert seen > 20, "it has looked"
    assert found == []

    with sa.create_engine(broker.settings.store_url).connect() as db:
        tables = sa.inspect(db).get_table_names()
        rows = [tuple(row) for table in tables for row in db.execute(sa.text(f'SELECT * FROM "{table}"'))]
    assert len(rows) > 20
    kept = b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row)
    assert b"looks_around" in kept
    assert within(kept, halves) == []

    homes = [broker.settings.home, Path(server["PREFECT_HOME"])]
    theirs = world.home / "sandbox"  # the clouds' own files
    files = [path for home in homes for path in home.rglob("*") if path.is_file() and not path.is_relative_to(theirs)]
    told = {str(path): within(path.read_bytes(), halves) for path in files if path.name != "sandbox.json"}
    assert len(told) > 3
    assert {path: secrets for path, secrets in told.items() if secrets} == {}
