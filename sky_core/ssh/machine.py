"""Whom a link leads to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """Where a machine's sshd listens and who it must be.

    Attributes:
        ip: Its address, or its name.
        host_key: Public key lines (one for each type that it may present), or a fingerprint ``SHA256:…``.
        key_file: The private key that logs in; "" for the keys of whoever calls.
        proxy_command: What carries the connection, with ``%h`` and ``%p`` for address and port; "" for none.
    """

    ip: str
    port: int
    user: str
    host_key: str
    key_file: str = ""
    proxy_command: str = ""
