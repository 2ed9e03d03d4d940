"""The egress part of the snapshot: from the reference table ``egress.csv`` to ``data/egress.json``.

Free allowances are dropped (they belong to the account, not to a transfer). Tiers that rise with volume are
scrambled in the source and raised to the dearest tier after them. Regions that the source lacks are priced
like the dearest known region of their continent, else of the cloud: an estimate may overstate, never
understate.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sky_core.facts.geography import continent

KINDS = {"internet_egress": "internet", "inter_region": "inter_region", "inter_zone": "inter_zone"}
ANYWHERE = ("any", "any other", "other zone", "other availability zone")
CONTINENTS_OF = {
    "zone 1: North America, Europe": ["North America", "Europe"],
    "zone 2: Asia, Oceania, Middle East and Africa": ["Asia", "Oceania", "Middle East", "Africa"],
    "zone 3: South America": ["South America"],
    "Middle East and Africa": ["Middle East", "Africa"],
    "Asia, Oceania, Middle East or Africa": ["Asia", "Oceania", "Middle East", "Africa"],
}
AWS_INTER_ZONE = 0.02
"""USD per GB that crosses zones: AWS charges 0.01 on each side (EC2 on-demand price page); the table lists one."""

Rate = dict[str, Any]


def egress_records(path: Path) -> list[Rate]:
    """The rates of the reference table, one record for all sources with equal tiers and basis."""
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in KINDS and float(row["usd_per_gb"] or 0) > 0]
    rates = list(_rates(rows))
    rates += list(_stand_ins(rates))
    rates.sort(key=_sameness)
    grouped = (list(group) for _, group in itertools.groupby(rates, key=_sameness))
    return [{**group[0], "sources": sorted({name for rate in group for name in rate["sources"]})} for group in grouped]


def _rates(rows: Iterable[Mapping[str, str]]) -> Iterator[Rate]:
    def key(row: Mapping[str, str]) -> tuple[str, ...]:
        return row["cloud"], row["kind"], row["source"], row["destination"]

    for (cloud, kind, source, destination), group in itertools.groupby(rows, key=key):
        tiers = list(group)
        prices = [float(row["usd_per_gb"]) for row in tiers]
        prices = [max(prices[index:]) for index in range(len(prices))]
        starts = [0.0, *(float(row["tier_from_gb"]) for row in tiers[1:])]
        if (cloud, kind) == ("aws", "inter_zone"):
            prices = [AWS_INTER_ZONE]
        sources = CONTINENTS_OF.get(source, [source])
        destinations = CONTINENTS_OF.get(destination, [destination])
        for end in ["internet"] if kind == "internet_egress" else destinations:
            yield {
                "cloud": cloud,
                "kind": KINDS[kind],
                "sources": sources,
                "destination": "any" if end.startswith(ANYWHERE) else end,
                "tiers": list(zip(starts, prices, strict=True)),
                "effective": tiers[0]["effective"],
                "basis": tiers[0]["basis"],
                "confidence": tiers[0]["confidence"],
            }


def _stand_ins(rates: Iterable[Rate]) -> Iterator[Rate]:
    """What regions without a rate of their own pay: the dearest of the continent, and the dearest of the cloud."""
    named = [rate for rate in rates if rate["cloud"] == "aws" or rate["kind"] == "internet"]
    named = [rate for rate in named if rate["destination"] in ("internet", "any") and rate["kind"] != "inter_zone"]
    named.sort(key=lambda rate: (rate["cloud"], rate["kind"]))
    for _, group in itertools.groupby(named, key=lambda rate: (rate["cloud"], rate["kind"])):
        alike = list(group)
        dearest: dict[str, Rate] = {}
        for rate in alike:
            for place in (*map(continent, rate["sources"]), "any"):
                dearest[place] = max(dearest.get(place, rate), rate, key=lambda item: float(item["tiers"][0][1]))
        known = {name for rate in alike for name in rate["sources"]}
        for place, rate in dearest.items():
            if place not in known:
                yield {
                    **rate,
                    "sources": [place],
                    "basis": "dearest known region of the continent or cloud",
                    "confidence": "low",
                }


def _sameness(rate: Rate) -> str:
    return repr([(key, value) for key, value in rate.items() if key != "sources"])
