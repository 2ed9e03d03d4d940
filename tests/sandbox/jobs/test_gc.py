"""``skyloom gc``: what is ours and nobody's is ended, what holds data is only told of."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sky_core.broker import Broker
from sky_core.cli.app import app
from sky_core.clouds import connect
from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER
from tests.conftest import Sandbox
from tests.sandbox.ssh import request


def test_everything_that_is_ours_is_listed_and_what_costs_money_is_ended(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SKYLOOM_CLOUDS", "aws")
    owner = Broker.open().store.id
    aws = connect("aws", sandbox.settings)
    bucket = aws.storage("us-east-1").url.partition("://")[2]
    aws.launch(request(token, tags={TAG_OWNER: owner, TAG_CLUSTER: token}))
    sandbox.control.fault(
        "aws", "DescribeVolumes", "error", code="UnauthorizedOperation", times=1000, region="us-west-2"
    )

    listed = CliRunner().invoke(app, ["gc", "--dry-run"])
    assert len(sandbox.live()) == 1
    assert f"found aws bucket {bucket}, kept: it holds data" in listed.output
    assert "found aws firewall us-east-1/sg-" in listed.output
    assert "1 orphans" in listed.output

    ended = CliRunner().invoke(app, ["gc"])
    assert sandbox.live() == []
    assert "us-west-2" in ended.output, "what could not be looked at is told"
    assert ended.exit_code == 1
