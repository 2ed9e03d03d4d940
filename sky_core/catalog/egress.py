"""What it costs and how long it takes to move data between two places.

Prices are the clouds' published ones (``data/egress.json``, each with its source and confidence). What is
charged is the sender's price; receiving is free everywhere. Monthly free allowances are not counted: they
belong to the whole account and may be used up. Tiers are counted from the first paid one, for each transfer on
its own, which never understates.

Data moves through object stores, so a place without a zone (a bucket) reaches its whole region for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sky_core.catalog.snapshot import DATA
from sky_core.facts import facts_of
from sky_core.facts.geography import continent

Location = tuple[str, str, str | None]  # cloud, region, zone
Place = tuple[str, str]  # cloud, region
Tiers = tuple[tuple[float, float], ...]
FREE: Tiers = ((0.0, 0.0),)

GBIT_IN_REGION = 10.0
OTHER_CLOUD = 0.5
OTHER_CONTINENT = 0.5
"""Shares of the cap that one process with a few connections reaches; Skyplane needs 64 connections for all of it.
Planning figures: replace them by measured ones as transfers are observed."""


def tiered_cost(tiers: Tiers, gb: float) -> float:
    """USD for ``gb`` billed gigabytes under tiers ``((from_gb, usd_per_gb), ...)``, the first from 0."""
    ends = [start for start, _ in tiers[1:]] + [np.inf]
    return float(sum(max(0.0, min(gb, end) - start) * usd for (start, usd), end in zip(tiers, ends, strict=True)))


@dataclass(frozen=True)
class _Paths:
    """What does not depend on how much is moved, for L locations: prices per billed GB and speeds."""

    billed_per_gb: np.ndarray  # (L,)
    usd_per_gb: np.ndarray  # (L, L) within a cloud
    leaves_cloud: np.ndarray  # (L, L) bool
    internet: tuple[Tiers, ...]  # of each location
    hours_per_gb: np.ndarray  # (L, L)

    @cached_property
    def usd_at_first(self) -> np.ndarray:
        """(L, L) USD per GB (10^9 bytes) in the first tier."""
        internet = np.array([tiers[0][1] for tiers in self.internet])
        usd: np.ndarray = np.where(self.leaves_cloud, internet[:, None], self.usd_per_gb) * self.billed_per_gb[:, None]
        return usd

    @cached_property
    def first_tier_gb(self) -> float:
        """GB (10^9 bytes) up to which no transfer leaves the first tier."""
        ends = [tiers[1][0] / per_gb for tiers, per_gb in zip(self.internet, self.billed_per_gb, strict=True)
                if len(tiers) > 1]  # fmt: skip
        return min(ends, default=np.inf)


@dataclass(frozen=True, eq=False)
class EgressTable:
    """Published prices of leaving a zone, a region or a cloud.

    Attributes:
        rates: Records with keys ``cloud``, ``kind`` (``internet``, ``inter_region``, ``inter_zone``), ``sources``
            (regions, continents or ``"any"``), ``destination``, ``tiers`` (pairs of "from GB" and USD per GB),
            ``effective``, ``basis``, ``confidence``.
    """

    rates: tuple[Mapping[str, Any], ...]

    @classmethod
    def embedded(cls, folder: Path = DATA) -> EgressTable:
        """The table that ships with the package."""
        return cls(tuple(json.loads((folder / "egress.json").read_text())))

    @cached_property
    def _tiers(self) -> dict[tuple[str, str, str, str], Tiers]:
        return {
            (rate["cloud"], rate["kind"], source, rate["destination"]): tuple(
                (start, usd) for start, usd in rate["tiers"]
            )
            for rate in self.rates
            for source in rate["sources"]
        }

    def internet(self, cloud: str, region: str) -> Tiers:
        """Tiers for leaving the cloud from a region.

        A cloud without published prices charges nothing: an on-premises site, or an object store with free
        egress such as Cloudflare R2.
        """
        for source in (region, continent(region), "any"):
            found = self._tiers.get((cloud, "internet", source, "internet"))
            if found:
                return found
        usd = facts_of(cloud).egress_usd_per_gb
        return ((0.0, usd),) if usd else FREE

    def inter_region(self, cloud: str, source: str, destination: str) -> float:
        """USD per billed GB between two regions of one cloud."""
        here, there = continent(source), continent(destination)
        pairs = (source, destination), (source, "any"), (here, there), (there, here), (here, "any"), (there, "any")
        return next((found[0][1] for pair in pairs if (found := self._tiers.get((cloud, "inter_region", *pair)))), 0.0)

    def inter_zone(self, cloud: str) -> float:
        """USD per billed GB between two zones of one region, both sides' charges added up."""
        return self._tiers.get((cloud, "inter_zone", "any", "any"), FREE)[0][1]

    def matrices(self, locations: Sequence[Location], gb: float) -> tuple[np.ndarray, np.ndarray]:
        """``(L, L)`` USD and hours to move ``gb`` (10^9 bytes) from each row's to each column's location."""
        paths = self._paths(tuple(locations))
        if gb <= paths.first_tier_gb:
            return paths.usd_at_first * gb, paths.hours_per_gb * gb
        billed = gb * paths.billed_per_gb
        internet = np.array([tiered_cost(tiers, volume) for tiers, volume in zip(paths.internet, billed, strict=True)])
        usd = np.where(paths.leaves_cloud, internet[:, None], paths.usd_per_gb * billed[:, None])
        return usd, paths.hours_per_gb * gb

    def per_gb(self, locations: Sequence[Location]) -> tuple[np.ndarray, np.ndarray, float]:
        """``(L, L)`` USD and hours for each GB, and up to how many GB at a time that is the price of all of them."""
        paths = self._paths(tuple(locations))
        return paths.usd_at_first, paths.hours_per_gb, paths.first_tier_gb

    @lru_cache(maxsize=16)  # noqa: B019 -- one table lives as long as the process
    def _paths(self, locations: tuple[Location, ...]) -> _Paths:
        places = list(dict.fromkeys((cloud, region) for cloud, region, _ in locations))
        index = {place: number for number, place in enumerate(places)}
        of_place = np.array([index[cloud, region] for cloud, region, _ in locations], dtype=int)
        pairs = np.ix_(of_place, of_place)
        usd = np.array([[self._usd_between(a, b) for b in places] for a in places]).reshape(len(places), -1)[pairs]
        hours = np.array([[_hours_per_gb(a, b) for b in places] for a in places]).reshape(len(places), -1)[pairs]

        cloud = np.array([name for name, _, _ in locations])
        zone = np.array([name or "" for _, _, name in locations])
        same_region = of_place[:, None] == of_place
        crosses_zones = same_region & (zone[:, None] != zone) & (zone[:, None] != "") & (zone != "")
        per_hop = np.array([self.inter_zone(name) for name, _, _ in locations])
        return _Paths(
            billed_per_gb=np.array([1e9 / facts_of(name).billed_gb_bytes for name, _, _ in locations]),
            usd_per_gb=np.where(crosses_zones, per_hop[:, None], usd),
            leaves_cloud=cloud[:, None] != cloud,
            internet=tuple(self.internet(name, region) for name, region, _ in locations),
            hours_per_gb=hours,
        )

    def _usd_between(self, source: Place, destination: Place) -> float:
        """USD per billed GB between two regions of one cloud; 0 where tiers decide or nothing is charged."""
        if source[0] != destination[0] or source == destination:
            return 0.0
        return self.inter_region(source[0], source[1], destination[1])


def _hours_per_gb(source: Place, destination: Place) -> float:
    if source == destination:
        return 8 / GBIT_IN_REGION / 3600
    speed = min(facts_of(cloud).gbit_out for cloud, _ in (source, destination))
    if source[0] != destination[0]:
        speed *= OTHER_CLOUD
    if continent(source[1]) != continent(destination[1]):
        speed *= OTHER_CONTINENT
    return 8 / speed / 3600
