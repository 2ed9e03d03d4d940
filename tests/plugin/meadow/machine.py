"""What a machine of Meadow asks it about itself. To power off ends its bill: there is no ``end_bill``."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterator


def notices() -> Iterator[float | None]:
    """When Meadow takes the machine back, as its metadata service has it: seconds since the epoch, or nothing."""
    service = os.environ.get("MEADOW_METADATA", "http://169.254.169.254/meadow")
    while True:
        with urllib.request.urlopen(f"{service}/notice", timeout=5) as answer:
            at = answer.read()
        yield float(at) if at else None
        time.sleep(1)
