"""The clouds: one folder each behind one small contract (:mod:`sky_core.clouds.base`).

SDKs are imported by :func:`connect` only, in the driver process: google-cloud-compute alone holds the GIL for
seconds, which must never happen in Airflow's triggerer or scheduler.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from importlib import import_module

from sky_core.clouds.base import Cloud, Found, Instance, LaunchRequest, Storage
from sky_core.clouds.findings import Finding
from sky_core.clouds.reservations import Holdings
from sky_core.config import Settings
from sky_core.errors import NotConnected, ProxyBroken
from sky_core.facts import clouds, facts_of
from sky_core.ssh.proxy import try_out


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
        yield Finding("login", True, "works")
    else:
        module, _, attribute = function.partition(":")
        yield from getattr(import_module(module), attribute)(cloud, region)
    if command := settings.clouds[name].network.at(region).proxy_command:
        yield _way_in(command)


def holdings(
    name: str, settings: Settings, regions: Collection[str] | None = None, named: Collection[str] = ()
) -> Holdings:
    """What the account of a cloud has reserved, in these regions at least, or wherever it may launch.

    Args:
        named: Reservations to look for as well, though they may belong to others who share them.

    Raises:
        NotConnected, AuthError: as :func:`connect`.
    """
    cloud, known = connect(name, settings), facts_of(name).reservations
    if known is None:
        return Holdings(())
    module, _, function = known.held.partition(":")
    found: Holdings = getattr(import_module(module), function)(cloud, regions, named)
    return found


def _way_in(command: str) -> Finding:
    """Whether the bastion that SSH goes through answers."""
    try:
        try_out(command)
    except ProxyBroken as error:
        return Finding("proxy_command", False, error.said)
    return Finding("proxy_command", True, "answers")


__all__ = ["Cloud", "Found", "Instance", "LaunchRequest", "Storage", "audit", "connect", "holdings"]
