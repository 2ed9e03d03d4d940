"""The clouds: one folder each behind one small contract (:mod:`sky_core.clouds.base`).

SDKs are imported by :func:`connect` only, in the driver process: google-cloud-compute alone holds the GIL for
seconds, which must never happen in Airflow's triggerer or scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from sky_core.clouds.base import Cloud, Found, Instance, LaunchRequest, Storage
from sky_core.clouds.findings import Finding
from sky_core.config import Settings
from sky_core.errors import NotConnected
from sky_core.facts import clouds, facts_of


def connect(name: str, settings: Settings) -> Cloud:
    """The cloud of that name, reached as the settings say.

    Raises:
        NotConnected: if there is no such cloud, the sandbox does not play it, its SDK is not installed, or the settings
            choose no account.
        AuthError: if there are no credentials.
    """
    if name in clouds() and name not in settings.clouds:
        cure = f"to use it there, give [clouds.{name}] in {settings.home / 'config.toml'} an endpoint on this machine"
        raise NotConnected(f"the sandbox plays {', '.join(settings.clouds)}, and no {name}", cure=cure)
    if name not in settings.clouds or (name not in clouds() and not settings.clouds[name].hosts):
        cure = f"Skyloom can launch on {', '.join(clouds())} and on hosts in catalog.toml; a package can add a cloud"
        raise NotConnected(f"nobody provides a cloud {name!r}", cure=cure)
    facts = facts_of(name)
    module, _, attribute = facts.provider.partition(":")
    try:
        factory = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise NotConnected(f"{name}: {error.name} is not installed", cure=facts.install) from None
    cloud: Cloud = factory(settings.clouds[name])
    return cloud


def audit(name: str, settings: Settings, region: str) -> Iterator[Finding]:
    """What the account of a cloud lacks for machines in a region; nothing is made.

    Raises:
        NotConnected, AuthError: as :func:`connect`.
    """
    cloud, function = connect(name, settings), facts_of(name).audit
    if not function:
        cloud.check()
        return iter((Finding("login", True, "works"),))
    module, _, attribute = function.partition(":")
    found: Iterator[Finding] = getattr(import_module(module), attribute)(cloud, region)
    return found


__all__ = ["Cloud", "Found", "Instance", "LaunchRequest", "Storage", "audit", "connect"]
