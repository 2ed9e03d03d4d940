"""What a project on Google Cloud lacks for Skyloom, found out without making anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import requests
from google.auth.transport.requests import AuthorizedSession
from google.cloud import compute_v1 as compute

from sky_core.clouds.base import Reach
from sky_core.clouds.findings import Finding, finding, lending, no_quota
from sky_core.clouds.gcp.account.permissions import NEEDS
from sky_core.clouds.gcp.errors import cloud_errors
from sky_core.clouds.gcp.network.rules import no_rules
from sky_core.clouds.gcp.network.vpc import vpc
from sky_core.clouds.gcp.provider import CALL_S, Gcp
from sky_core.clouds.gcp.tpu.bodies import IDENTITY, account_of
from sky_core.clouds.needs import When, wanted
from sky_core.errors import AuthError

RULES = (  # what making firewall rules takes
    "compute.firewalls.create",
    "compute.firewalls.delete",
    "compute.firewalls.list",
    "compute.firewalls.update",
    "compute.networks.updatePolicy",
)
RESOURCES = "https://cloudresourcemanager.googleapis.com"


def audit(cloud: Gcp, region: str) -> Iterator[Finding]:
    """The login, the network, the rights, a loan, what TPU VMs are, the quotas."""
    login = finding("login", lambda: _logged_in(cloud), lambda: cloud_errors("list zones"))
    yield login
    if not login.ok:
        return
    yield finding("network", lambda: _network(cloud, region), lambda: cloud_errors("get the network"))
    yield finding("permissions", lambda: _rights(cloud, region), lambda: cloud_errors("test permissions"))
    place = Reach(f"gs://{cloud._buckets.name(region)}/check", write=True)  # need not be there
    yield lending(lambda: cloud.lend([place], cloud.name))
    account = account_of(cloud.config)
    yield Finding("TPU VMs", True, f"are {account}" if account else f"are not launched yet: {IDENTITY}")
    yield no_quota(lambda: cloud._quotas.limits(region), lambda metric: metric.endswith("GPUS"))


def _logged_in(cloud: Gcp) -> str:
    cloud.check()
    return f"project {cloud.project}"


def _network(cloud: Gcp, region: str) -> str:
    there = vpc(cloud.config, cloud.project, region)
    found = compute.NetworksClient(**cloud.reach).get(project=there.project, network=there.name, timeout=CALL_S)
    if there.shared and there.ruled and (missing := _missing(cloud, there.project, RULES)):
        raise no_rules(there, f"missing: {', '.join(missing)}")
    return f"{found.name}, {'automatic' if found.auto_create_subnetworks else 'custom'} subnetworks"


def _rights(cloud: Gcp, region: str) -> str:
    cases: list[When] = ["identity"] if cloud.config.machine_identity else []
    there = vpc(cloud.config, cloud.project, region)
    elsewhere = RULES if there.shared or not there.ruled else ()
    asked = [right for right in wanted(NEEDS, *cases) if right not in elsewhere]
    if missing := _missing(cloud, cloud.project, asked):
        raise AuthError(f"missing: {', '.join(missing)}", cure="docs/permissions.md has the whole role")
    return f"all {len(asked)}"


def _missing(cloud: Gcp, project: str, asked: Sequence[str]) -> list[str]:
    """https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions"""
    url = f"{cloud.config.endpoint or RESOURCES}/v1/projects/{project}:testIamPermissions"
    session: Any = AuthorizedSession(cloud.reach["credentials"])  # type: ignore[no-untyped-call]
    reply: requests.Response = session.post(url, json={"permissions": list(asked)}, timeout=CALL_S)
    reply.raise_for_status()
    return sorted(set(asked) - set(reply.json().get("permissions", ())))
