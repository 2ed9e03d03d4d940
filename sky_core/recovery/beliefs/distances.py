"""What moving between zones takes, as far as a job has been told: a situation tells it from one place only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sky_core.facts.geography import continent, region_of

Floats = NDArray[np.float64]
Row = tuple[Mapping[str, float], Mapping[str, float]]
"""USD, and hours, to each zone from one."""
Relation = tuple[bool, Literal["region", "continent", "world"]]
NOTHING = (0.0, 0.0)


class Distances:
    """The moves from each place where the checkpoint has been, and a guess at those between the others.

    A move that was never told takes at most the dearer of the moves to either end from a place that was told, and at
    most what moves take between zones that are as near to each other: in one region, on one continent, or neither, by
    their names. Within a region, where no such move was told, it takes nothing.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def tell(self, origin: str, usd: Mapping[str, float], hours: Mapping[str, float]) -> None:
        """What it takes to go to each zone from one."""
        self._rows[origin] = usd, hours

    def between(self, names: Sequence[str], now: Row) -> tuple[Floats, Floats]:
        """(Z, Z) USD and hours from zone to zone.

        Args:
            now: The moves from where the job is, or from nowhere.
        """
        rows = list(self._rows.values()) or [now]
        usual = self._usual()
        matrix = np.zeros((2, len(names), len(names)))
        for i, origin in enumerate(names):
            told = self._rows.get(origin)
            for j, to in enumerate(names):
                if i != j:
                    matrix[:, i, j] = _pair(told, to) if told else _guess(origin, to, rows, usual)
        return matrix[0], matrix[1]

    def _usual(self) -> dict[Relation, tuple[float, float]]:
        usual: dict[Relation, tuple[float, float]] = {(True, "region"): NOTHING}
        for origin, row in self._rows.items():
            for to in row[0]:
                if to != origin:
                    relation = _relation(origin, to)
                    usual[relation] = _larger(usual.get(relation, NOTHING), _pair(row, to))
        return usual


def _guess(
    origin: str, to: str, rows: Sequence[Row], usual: Mapping[Relation, tuple[float, float]]
) -> tuple[float, float]:
    bounds = [_larger(_pair(row, origin), _pair(row, to)) for row in rows]
    alike = usual.get(_relation(origin, to))
    usd, hours = zip(*bounds, *([alike] if alike else []), strict=True)
    return min(usd), min(hours)


def _larger(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return max(one[0], other[0]), max(one[1], other[1])


def _pair(row: Row, to: str) -> tuple[float, float]:
    return row[0].get(to, 0.0), row[1].get(to, 0.0)


def _relation(one: str, other: str) -> Relation:
    """Whether they are of one cloud, and how near; a zone is called ``cloud/zone`` or ``zone``."""
    (cloud, _, here), (cloud_too, _, there) = one.rpartition("/"), other.rpartition("/")
    regions = region_of(here), region_of(there)
    if cloud == cloud_too and regions[0] == regions[1]:
        return True, "region"
    return cloud == cloud_too, "continent" if continent(regions[0]) == continent(regions[1]) else "world"
