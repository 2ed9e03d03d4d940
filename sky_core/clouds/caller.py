"""The address this machine comes from, for firewall rules that let nobody else in."""

from __future__ import annotations

import urllib.request
from ipaddress import IPv4Address

from sky_core.config import CloudConfig
from sky_core.errors import UnknownOutcome

CHECKIP = "https://checkip.amazonaws.com"  # answers the caller's address in plain text


def sources(config: CloudConfig, region: str) -> tuple[str, ...]:
    """Whom the firewall lets in, as CIDR blocks: those of the settings, or this machine as it is seen now.

    Raises:
        UnknownOutcome: if that cannot be told.
    """
    if named := config.network.at(region).sources:
        return named
    if config.endpoint and not config.address_url:  # an emulator on this machine
        return ("127.0.0.1/32",)
    return (f"{public_address(config.address_url or CHECKIP)}/32",)


def public_address(url: str = CHECKIP, timeout_s: float = 5.0) -> str:
    """This machine's IPv4 address as the internet sees it.

    Raises:
        UnknownOutcome: if it cannot be told; opening SSH to the whole world instead is not an option.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:  # noqa: S310 - of the settings
            return str(IPv4Address(reply.read(64).decode().strip()))
    except (OSError, ValueError) as error:
        raise UnknownOutcome(f"cannot tell this machine's public address from {url}: {error}") from None
