"""Amounts as files write them. A unit is read, never stripped: 1TB is 1024 GiB, as SkyPilot counts."""

from __future__ import annotations

import math
import re

GIB = {"": 1.0, "k": 2.0**-20, "m": 2.0**-10, "g": 1.0, "t": 2.0**10, "p": 2.0**20}
SIZE = re.compile(r"^\s*(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kmgtp]?)i?b?\s*$", re.IGNORECASE)
AMOUNT = re.compile(
    r"^\s*(?P<low>[\d.]+\s*[a-z]*?)\s*(?:(?P<mark>[+x])|-\s*(?P<high>[\d.]+\s*[a-z]*))?\s*$", re.IGNORECASE
)
PORTS = re.compile(r"^\s*(?P<first>\d+)\s*(?:-\s*(?P<last>\d+)\s*)?$")
LAST_PORT = 65535


def gib(text: str | float) -> float:
    """``"32GB"``, ``"1TB"`` or ``64`` as GiB.

    Raises:
        ValueError: for anything else.
    """
    match = SIZE.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size; write e.g. 256, '256GB' or '1TB'")
    return float(match["number"]) * GIB[match["unit"].lower()]


def whole_gib(text: str | float) -> int:
    """The same, rounded up.

    Raises:
        ValueError: for what is not a size, or none.
    """
    size = math.ceil(gib(text))
    if size <= 0:
        raise ValueError(f"{text!r} is no room at all")
    return size


def memory(text: str | float) -> str:
    """``"32GB+"``, ``"16-64GB"`` or ``"4x"`` as an amount of GiB without units, for :class:`~sky_core.spec.Amount`.

    Raises:
        ValueError: for anything else.
    """
    match = AMOUNT.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory; write e.g. 32, '32+', '32GB+', '16-64' or '4x'")
    if match["mark"] == "x":
        return f"{match['low']}x"
    high = match["high"]
    if high:
        unit = re.sub(r"[\d.\s]", "", high)
        low = match["low"] if re.search(r"[a-z]", match["low"], re.IGNORECASE) else f"{match['low']}{unit}"
        return f"{gib(low):g}-{gib(high):g}"
    return f"{gib(match['low']):.12g}{match['mark'] or ''}"


def ports(items: list[int | str]) -> tuple[int, ...]:
    """``[8080, "9000-9003"]`` as the ports it means, each once.

    Raises:
        ValueError: for what is no port.
    """
    found: dict[int, None] = {}
    for item in items:
        match = PORTS.match(str(item))
        first, last = (int(match["first"]), int(match["last"] or match["first"])) if match else (0, 0)
        if not 1 <= first <= last <= LAST_PORT:
            raise ValueError(f"{item!r} is no port from 1 to {LAST_PORT} and no range; write e.g. 8080 or 9000-9003")
        found.update(dict.fromkeys(range(first, last + 1)))
    return tuple(found)
