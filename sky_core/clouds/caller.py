"""The addresses this machine comes from, for firewall rules that let nobody else in.

Most machines have one. Behind a pool of them (a large office, a carrier) each connection may have another, so several
connections ask, and what they and those before them were told is let in together.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from ipaddress import IPv4Address

from sky_core.clouds.at_once import at_once
from sky_core.config import CloudConfig
from sky_core.errors import UnknownOutcome

CHECKIP = "https://checkip.amazonaws.com"  # answers the caller's address in plain text
LOOKS = 4  # connections that ask
POOLED_S = 3600.0  # for which an address of a pool is let in after it was seen last…
MOST = 16  # …and how many; a larger pool has to be named in the settings


def sources(config: CloudConfig, region: str) -> tuple[str, ...]:
    """Whom the firewall lets in, as CIDR blocks: those of the settings, or this machine as it is seen.

    Raises:
        UnknownOutcome: if that cannot be told.
    """
    if named := config.network.at(region).sources:
        return named
    if config.endpoint and not config.address_url:  # an emulator on this machine
        return ("127.0.0.1/32",)
    return tuple(f"{address}/32" for address in _HERE.look(config.address_url or CHECKIP))


class Here:
    """Where this machine was seen, by who told it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, float]] = {}

    def look(self, url: str) -> list[str]:
        """Where it is seen now: one address, or as many of a pool as are known.

        Raises:
            UnknownOutcome: if nobody says.
        """
        told = at_once(_asked, [url] * LOOKS)
        now, errors = time.monotonic(), [one for one in told if isinstance(one, UnknownOutcome)]
        if len(errors) == len(told):
            raise errors[0]
        found = {one for one in told if isinstance(one, str)}
        with self._lock:
            seen = self._seen.setdefault(url, {})
            if len(found) == 1 and not found <= seen.keys():  # it has moved
                seen.clear()
            seen |= dict.fromkeys(found, now)
            newest = sorted(seen, key=lambda address: seen[address], reverse=True)[:MOST]
            self._seen[url] = {address: seen[address] for address in newest if now - seen[address] < POOLED_S}
            return sorted(self._seen[url])


_HERE = Here()


def _asked(url: str) -> str | UnknownOutcome:
    try:
        return public_address(url)
    except UnknownOutcome as error:
        return error


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
