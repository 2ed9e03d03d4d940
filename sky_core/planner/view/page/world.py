"""The map: the regions that a plan uses, as numbered points, with lines where data crosses.

Plate carrée: x is the longitude, y the latitude turned round, both in degrees. The land is Natural Earth's (1:110m,
public domain), made simpler to half a degree.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sky_core.planner.view.document import PlanDocument

LEAST_WIDTH = 150.0  # degrees: less would not be recognized
MARGIN = 14.0
SHAPE = 0.46  # height by width


@dataclass(frozen=True)
class Spot:
    """A region; ``left`` and ``top`` in percent of the map, None where nobody knows where it is."""

    number: int
    place: str
    cloud: str
    city: str
    tasks: int
    usd: float
    left: float | None
    top: float | None


@dataclass(frozen=True)
class World:
    """The map: its view box, its land, its regions, and the paths of data that crosses."""

    view: str
    land: str
    spots: tuple[Spot, ...]
    lines: tuple[str, ...]


@cache
def _places() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("places.toml").read_text())


@cache
def _land() -> str:
    return Path(__file__).with_name("land.txt").read_text().replace("\n", "")


def world(document: PlanDocument) -> World:
    """The map of a plan."""
    tasks: dict[str, int] = defaultdict(int)
    usd: dict[str, float] = defaultdict(float)
    for placement in document.placements.values():
        place = f"{placement.cloud}/{placement.region}"
        tasks[place] += 1
        usd[place] += placement.compute_usd
    pairs = set()
    for edge in document.edges:
        placement = document.placements[edge.target]
        here = f"{placement.cloud}/{placement.region}"
        tasks[edge.origin] += 0
        if edge.gb > 0 and edge.origin != here:
            pairs.add((edge.origin, here))
    found = {place: _point(place) for place in tasks}
    points = {place: point[:2] for place, point in found.items() if point is not None}
    x, y, width, height = _window([(float(lon), float(lat)) for lon, lat in points.values()])
    spots = []
    for number, place in enumerate(sorted(tasks, key=lambda place: (-usd[place], place)), start=1):
        point = points.get(place)
        spots.append(
            Spot(
                number=number,
                place=place,
                cloud=place.partition("/")[0],
                city=str((found[place] or ("", "", ""))[2]),
                tasks=tasks[place],
                usd=usd[place],
                left=None if point is None else 100 * (point[0] - x) / width,
                top=None if point is None else 100 * (point[1] - y) / height,
            )
        )
    lines = tuple(_arc(points[one], points[other]) for one, other in sorted(pairs) if one in points and other in points)
    return World(f"{x:.1f} {y:.1f} {width:.1f} {height:.1f}", _land(), tuple(spots), lines)


def _point(place: str) -> tuple[float, float, str] | None:
    """(x, y, city) of a region in the map's degrees."""
    cloud, _, region = place.partition("/")
    known = _places().get(cloud, {}).get(region)
    return None if known is None else (known[1], -known[0], known[2])


def _window(points: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """x, y, width and height of the part of the world to show: all points, with room around them."""
    if not points:
        return -180.0, -84.0, 360.0, 360.0 * SHAPE
    left, right = min(x for x, _ in points) - MARGIN, max(x for x, _ in points) + MARGIN
    top, bottom = min(y for _, y in points) - MARGIN, max(y for _, y in points) + MARGIN
    width = min(360.0, max(LEAST_WIDTH, right - left, (bottom - top) / SHAPE))
    height = width * SHAPE
    x = min(max((left + right - width) / 2, -180.0), 180.0 - width)
    y = min(max((top + bottom - height) / 2, -84.0), 84.0 - height) if height < 168 else -84.0
    return x, y, width, height


def _arc(one: tuple[float, float], other: tuple[float, float]) -> str:
    """A line that bends towards the pole, as the way over a globe does."""
    (x1, y1), (x2, y2) = one, other
    lift = 0.15 * abs(x2 - x1)
    return f"M{x1:.1f},{y1:.1f} Q{(x1 + x2) / 2:.1f},{(y1 + y2) / 2 - lift:.1f} {x2:.1f},{y2:.1f}"
