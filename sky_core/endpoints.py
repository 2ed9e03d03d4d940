"""Where a running sandbox says how its clouds are reached: all that the product and its sandbox agree upon."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sky_core.errors import SandboxNotRunning

SANDBOX_FILE = "sandbox/endpoints.json"
PATIENCE_S = 5.0


def read_sandbox(home: Path) -> dict[str, Any]:
    """What the running sandbox of ``home`` says of itself: keys ``clouds``, ``scale``, ``poll_s``, ….

    Raises:
        SandboxNotRunning: if there is none, or its process is gone.
    """
    path = home / SANDBOX_FILE
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise SandboxNotRunning(f"{path} does not exist") from None
    pid, admin = data.pop("pid"), data.pop("admin")
    if not _listens(admin["url"]):
        raise SandboxNotRunning(f"its process {pid} is gone")
    return data


def _listens(url: str) -> bool:
    """Whether anybody is behind an address. (A process has another number on the sandbox's machines.)"""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:  # too busy to say
        return True
    return True
