"""Which sources a user means, and the credentials they need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module

from sky_core.catalog.refresh.source import Source
from sky_core.config import Settings
from sky_core.errors import SpecError
from sky_core.facts import clouds as known_clouds

NAMED = ("api", "gpuhunt", "skypilot")


def sources(settings: Settings, origin: str = "api", clouds: Sequence[str] = ()) -> list[Source]:
    """The sources for a choice.

    Args:
        origin: ``"api"`` (each cloud's own), ``"gpuhunt"``, ``"skypilot"``, or the path or URL of a CSV file in
            SkyPilot's format.
        clouds: The clouds wanted; all if empty.

    Raises:
        SpecError: for an unknown cloud or source, or a file without the one cloud it is about.
    """
    published = tuple(name for name, facts in known_clouds().items() if facts.prices)
    for cloud in clouds:
        if cloud not in published:
            raise SpecError(f"--cloud: no prices are published for {cloud!r}; there are {', '.join(published)}")
    return list(_sources(settings, origin, tuple(clouds) or published))


def _sources(settings: Settings, origin: str, names: tuple[str, ...]) -> Iterator[Source]:
    if origin == "api":
        yield from (_own_api(cloud, settings) for cloud in names)
    elif origin == "gpuhunt":
        from sky_core.catalog.refresh.sources.gpuhunt import GpuHunt

        yield GpuHunt(names)
    elif origin == "skypilot" or origin.endswith(".csv"):
        from sky_core.catalog.refresh.sources.skypilot import SkyPilotCsv

        if origin != "skypilot" and len(names) > 1:
            raise SpecError(f"--source {origin}: say which cloud it is about with --cloud")
        yield from (SkyPilotCsv(cloud, None if origin == "skypilot" else origin) for cloud in names)
    else:
        raise SpecError(f"--source: {origin!r} is none of {', '.join(NAMED)}, nor a .csv file")


def _own_api(cloud: str, settings: Settings) -> Source:
    module, _, function = known_clouds()[cloud].prices.partition(":")
    account = settings.clouds[cloud].account if cloud in settings.clouds else None
    made: Source = getattr(import_module(module), function)(account)
    return made
