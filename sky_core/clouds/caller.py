"""The address this machine comes from, for firewall rules that let nobody else in."""

from __future__ import annotations

import urllib.request
from ipaddress import IPv4Address

from sky_core.errors import UnknownOutcome

CHECKIP = "https://checkip.amazonaws.com"  # answers the caller's address in plain text


def public_address(timeout_s: float = 5.0) -> str:
    """This machine's IPv4 address as the internet sees it.

    Raises:
        UnknownOutcome: if it cannot be told; opening SSH to the whole world instead is not an option.
    """
    try:
        with urllib.request.urlopen(CHECKIP, timeout=timeout_s) as reply:
            return str(IPv4Address(reply.read(64).decode().strip()))
    except (OSError, ValueError) as error:
        raise UnknownOutcome(f"cannot tell this machine's public address from {CHECKIP}: {error}") from None
