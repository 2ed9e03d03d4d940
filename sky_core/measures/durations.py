"""Durations as people write them."""

from __future__ import annotations

import math
import re
from datetime import timedelta

DURATION = re.compile(r"^(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>s|m|h|d)$")
HOURS_PER_UNIT = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}


def parse_hours(value: str | float | timedelta) -> float:
    """Turn ``"10m"``, ``"1.5h"``, ``timedelta`` or a number of hours into hours.

    Raises:
        ValueError: for anything else, or a duration that is not positive and finite.
    """
    if isinstance(value, timedelta):
        hours = value.total_seconds() / 3600
    elif isinstance(value, str):
        match = DURATION.match(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write e.g. '30s', '10m', '1.5h' or '2d'")
        hours = float(match["number"]) * HOURS_PER_UNIT[match["unit"]]
    else:
        hours = float(value)
    if not (math.isfinite(hours) and hours > 0):
        raise ValueError(f"a duration must be positive and finite, not {value!r}")
    return hours
