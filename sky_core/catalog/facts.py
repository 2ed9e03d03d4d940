"""What ``facts.toml`` knows besides prices: labels of machine types, regions that have to be asked for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sky_core.catalog.schema import format_labels
from sky_core.facts import facts_of


@cache
def read_facts() -> Mapping[str, Any]:
    """The file, parsed."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def labels_of(cloud: str, instance_type: str, accelerator: str | None, *, attached: bool = False) -> str:
    """The labels that a machine type's name guarantees, as the column ``labels`` holds them.

    Args:
        attached: The type is also sold without the accelerator, which is attached at launch.
    """
    found: dict[str, str] = {}
    maker = facts_of(cloud).cpu_maker(instance_type)
    if maker:
        found["cpu"] = maker
    if attached:
        found["attached"] = "true"
    for block in read_facts()["labels"]:
        named = re.search(block.get("types", ""), instance_type)
        if cloud == block["cloud"] and named and block.get("accelerator") in (None, accelerator):
            found |= block["labels"]
    return format_labels(found)


def access_of(cloud: str, region: str) -> str | None:
    """``"opt-in"`` or ``"restricted"`` for regions an account has to ask for, None for those open to all."""
    kinds: Mapping[str, list[str]] = read_facts()["access"].get(cloud, {})
    return next((kind for kind, regions in kinds.items() if region in regions), None)
