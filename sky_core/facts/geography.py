"""Where regions lie, told from their names: all three clouds'."""

from __future__ import annotations

import re
from functools import lru_cache

CONTINENTS = (
    ("Oceania", r"^ap-southeast-[246]$|^australia|^newzealand"),
    ("South America", r"^sa-|^southamerica-|^brazil|^chile"),
    ("North America", r"^(us|ca|mx)-|^northamerica-|^(canada|mexico|usgov|usdod)|us\d?$"),
    (
        "Europe",
        r"^eu-|^europe-|europe$|^(uk|france|germany|swi|norway|sweden|poland|italy|spain|austria|belgium|denmark)",
    ),
    ("Middle East", r"^(me|il)-|^(uae|qatar|israel|saudi)"),
    ("Africa", r"^af-|^africa-|^southafrica"),
)


@lru_cache(maxsize=4096)
def continent(region: str) -> str:
    """The continent of a region; Asia where no other fits."""
    return next((name for name, pattern in CONTINENTS if re.search(pattern, region)), "Asia")


@lru_cache(maxsize=4096)
def region_of(zone: str) -> str:
    """The region of a zone by its name: ``us-east-1a``, ``us-east4-a`` and ``eastus-1`` lie in the regions before the
    last mark; a region's own name is kept."""
    numbered = re.fullmatch(r"([a-z]+\d?)-\d", zone)  # Azure's; a region of AWS has two dashes
    return numbered[1] if numbered else re.sub(r"(-[a-z]|(?<=-\d)[a-z]|(?<=-\d\d)[a-z])$", "", zone)
