"""Where a running sandbox says how its clouds are reached: all that the product and its sandbox agree upon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sky_core.errors import SandboxNotRunning

SANDBOX_FILE = "sandbox/endpoints.json"


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
    pid = data.pop("pid")
    data.pop("admin", None)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        raise SandboxNotRunning(f"its process {pid} is gone") from None
    except PermissionError:
        pass
    return data
