"""What a subscription of Azure lacks for Skyloom, found out without making anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from sky_core.clouds.azure.account.permissions import NEEDS
from sky_core.clouds.azure.errors import cloud_errors
from sky_core.clouds.azure.provider import Azure
from sky_core.clouds.base import Reach
from sky_core.clouds.findings import Finding, finding, lending, no_quota
from sky_core.clouds.needs import wanted
from sky_core.errors import AuthError, NotSetUp

PROVIDERS = ("Microsoft.Compute", "Microsoft.Network", "Microsoft.Storage", "Microsoft.ManagedIdentity")
ROLES_API = "2022-04-01"


def audit(cloud: Azure, region: str) -> Iterator[Finding]:
    """The login, the resource providers, the rights, a loan, the quotas."""
    login = finding("login", lambda: _logged_in(cloud), cloud_errors)
    yield login
    if not login.ok:
        return
    for namespace in PROVIDERS:
        yield finding(namespace, lambda name=namespace: _registered(cloud, name), cloud_errors)  # type: ignore[misc]
    yield finding("permissions", lambda: _rights(cloud), cloud_errors)
    if cloud._config.storage_account:  # else each region's is made when it is first needed
        place = Reach(f"abfs://{cloud._storage.name(region)}", write=True)  # need not be there
        yield lending(lambda: cloud.lend([place], cloud.name))
    yield no_quota(lambda: cloud._quotas.limits(region), lambda name: True)


def _logged_in(cloud: Azure) -> str:
    cloud.check()
    return f"subscription {cloud._subscription}"


def _registered(cloud: Azure, namespace: str) -> str:
    state = str(cloud._providers.get(namespace).registration_state)
    if state != "Registered":
        raise NotSetUp(state, cure=f"az provider register --namespace {namespace}; a first launch asks for it as well")
    return state


def _rights(cloud: Azure) -> str:
    """https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource-group, for the subscription."""
    path = f"/subscriptions/{cloud._subscription}/providers/Microsoft.Authorization/permissions"
    granted: Any = cloud._resources.get_by_id(path, api_version=ROLES_API).as_dict()["value"]
    asked = wanted(NEEDS, "identity" if cloud._config.machine_identity else "always")
    missing = [action for action in asked if not any(_grants(one, action) for one in granted)]
    if missing:
        raise AuthError(f"missing: {', '.join(missing)}", cure="docs/permissions.md has the whole role")
    return f"all {len(asked)}"


def _grants(permission: Any, action: str) -> bool:
    return _any(permission.get("actions", ()), action) and not _any(permission.get("notActions", ()), action)


def _any(patterns: Iterable[str], action: str) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
