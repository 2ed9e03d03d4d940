"""Hosts that let themselves in come and go, pods with another name each time; their rules do not stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest

from sky_core.clouds import connect, marks
from sky_core.clouds.aws.provider import Aws
from sky_core.clouds.gcp.provider import Gcp
from tests.conftest import Sandbox

HOURS = {"worker-1": 0, "worker-2": 10, "worker-3": 30}


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_rules_of_hosts_that_are_gone_are_taken_out(sandbox: Sandbox, monkeypatch, cloud: str) -> None:
    begun, at, seen = time.time(), [0.0], dict[str, set[str]]()
    monkeypatch.setattr(marks.time, "time", lambda: begun + at[0] * 3600)
    for number, (host, hour) in enumerate(HOURS.items()):
        at[0] = hour
        sandbox.control.move(f"203.0.113.{number}")
        seen[host] = _launching(sandbox, monkeypatch, cloud, host)()
    assert seen["worker-2"] == {"203.0.113.0/32", "203.0.113.1/32"}
    assert seen["worker-3"] == {"203.0.113.1/32", "203.0.113.2/32"}, "nobody has renewed the first for a day"
    launch = _launching(sandbox, monkeypatch, cloud, "worker-2")
    sandbox.control.move("203.0.113.1")
    for at[0] in (33, 45, 60):
        assert "203.0.113.1/32" in launch(), "who launches renews it"
    assert launch() == {"203.0.113.1/32"}
    sandbox.control.move("")


def _launching(sandbox: Sandbox, monkeypatch, cloud: str, host: str) -> Callable[[], set[str]]:
    """What a host lets in by what it does before each launch."""
    for module in ("marks", "gcp.network.rules"):
        monkeypatch.setattr(f"sky_core.clouds.{module}.HOST", host)
    there = connect(cloud, sandbox.settings)
    if isinstance(there, Aws):
        aws = there

        def rules() -> set[str]:
            group = aws._network.group("us-east-1", ())
            [found] = aws._session.client("ec2", "us-east-1").describe_security_groups(GroupIds=[group])[
                "SecurityGroups"
            ]
            return _hosts(r["CidrIp"] for rule in found["IpPermissions"] for r in rule["IpRanges"])

        return rules
    assert isinstance(there, Gcp)
    gcp = there

    def sources() -> set[str]:
        gcp._network.open("us-central1", ())
        found = gcp._network._firewalls.list(project=gcp.project)
        return _hosts(source for rule in found if rule.description for source in rule.source_ranges)

    return sources


def _hosts(sources: Iterable[str]) -> set[str]:
    """Those of this file: other tests drive in the same account."""
    return {source for source in sources if source.startswith("203.0.113.")}
