"""What a ``skyloom`` connection allows: regions and money, within what the Skyloom home allows anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from sky_core.config import CloudConfig, Granted, Settings
from sky_core.errors import SpecError

MONEY = ("usd_per_job", "usd_per_run", "usd_per_day")
REGIONS = "regions"


def narrowed(settings: Settings, name: str, extra: Mapping[str, Any]) -> Settings:
    """The settings of a connection's jobs. They go with each job, so whoever drives it keeps to them.

    Args:
        name: The connection's.
        extra: Its extras: ``regions`` lists patterns, ``eu-*`` of all clouds or ``aws/eu-*`` of one; what fits none of
            them is not used. ``usd_per_job``, ``usd_per_run`` and ``usd_per_day`` are as in config.toml.

    Raises:
        SpecError: for what cannot be meant, or regions that leave none.
    """
    money = {field: extra[field] for field in MONEY if extra.get(field) not in (None, "")}
    try:
        granted = Granted(**money, by=f"connection {name}") if money else settings.granted
    except ValueError as error:
        field = next((field for field in money if field in str(error)), MONEY[0])
        raise SpecError(f"connection {name}: {field}: {money[field]!r} is not an amount of USD above 0") from None
    clouds = _in_regions(settings.clouds, name, _listed(extra.get(REGIONS)))
    return settings.model_copy(update={"granted": granted, "clouds": clouds})


def _listed(said: Any) -> list[str]:
    parts = said.split(",") if isinstance(said, str) else said or []
    return [part.strip() for part in parts if part.strip()]


def _in_regions(clouds: Mapping[str, CloudConfig], name: str, patterns: Sequence[str]) -> Mapping[str, CloudConfig]:
    if not patterns:
        return clouds
    for pattern in patterns:
        cloud, slash, _ = pattern.partition("/")
        if slash and cloud not in clouds:
            known = ", ".join(sorted(clouds))
            raise SpecError(f"connection {name}: {REGIONS}: {pattern!r}: no cloud {cloud!r}; there are {known}")
    found = {}
    for cloud, config in clouds.items():
        wanted = [one.rpartition("/")[2] for one in patterns if one.partition("/")[0] == cloud or "/" not in one]
        regions = tuple(dict.fromkeys(both for mine in config.regions for one in wanted if (both := _both(mine, one))))
        found[cloud] = config.model_copy(update={"regions": regions, "enabled": config.enabled and bool(regions)})
    if not any(config.enabled for config in found.values()):
        raise SpecError(f"connection {name}: {REGIONS}: {', '.join(patterns)}: no enabled cloud is left")
    return found


def _both(one: str, other: str) -> str | None:
    """The narrower of two patterns; None where neither is within the other: rather too little than too much."""
    if fnmatchcase(other, one):
        return other
    return one if fnmatchcase(one, other) else None
