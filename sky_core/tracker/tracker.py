"""The tracker: what is really to be had, from what all of a team's runs have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sky_core.store.records import Observation
from sky_core.tracker.beliefs import (
    HOURS_PER_MONTH,
    MANY_GPUS,
    PRIOR_CHANCE,
    PRIOR_CHANCE_MANY_GPUS,
    Offering,
    chance,
    kind_of,
    preemptions_per_hour,
    published_rate,
)
from sky_core.tracker.blocked import Blocked, blocked, sold_out

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]


class Tracker:
    """Answers about offerings at one moment, from observations of the past.

    Attributes:
        now: The moment it speaks of, seconds since the epoch.
    """

    def __init__(self, observations: Iterable[Observation], now: float) -> None:
        self.now = now
        self._seen = tuple(observations)
        self._of_kind: dict[tuple[str, str, str | None, str], list[Observation]] = defaultdict(list)
        for item in self._seen:
            if item.reservation is not None:  # says nothing of what is sold to all
                continue
            self._of_kind[kind_of(item)].append(item)

    def blocked(self, ttl_s: float) -> list[Blocked]:
        """The scopes not worth trying now (see :func:`~sky_core.tracker.blocked.blocked`)."""
        return blocked(self._seen, self.now, ttl_s)

    def sold_out(self, ttl_s: float) -> list[Blocked]:
        """What its neighbours' refusals say of the rest (see :func:`~sky_core.tracker.blocked.sold_out`)."""
        return sold_out(self._seen, self.now, ttl_s)

    def chance(self, offering: Offering) -> float:
        """Probability that a launch tried now succeeds."""
        return chance(offering, self._near(offering), self.now)

    def preemptions_per_hour(self, offering: Offering) -> float:
        """Expected preemptions per hour of running; its reciprocal is the expected spot lifetime, hours."""
        return preemptions_per_hour(offering, self._near(offering), self.now)

    def rate(self, offers: pl.DataFrame) -> tuple[Floats, Floats]:
        """(N,) :meth:`chance` and (N,) :meth:`preemptions_per_hour` of the catalog's rows, with their ``use_spot``."""
        spot = offers["use_spot"].to_numpy()
        many = offers["accelerator_count"].fill_null(0).to_numpy() >= MANY_GPUS
        chance = np.where(spot, PRIOR_CHANCE["spot"], PRIOR_CHANCE["on-demand"])
        chance = np.where(many, np.minimum(chance, PRIOR_CHANCE_MANY_GPUS), chance)
        interruption = offers["interruption"].to_numpy()  # NaN where none is published
        preemptions = -np.log1p(-interruption) / HOURS_PER_MONTH
        for cloud in offers["cloud"].unique().to_list():
            unpublished = np.isnan(interruption) & (offers["cloud"] == cloud).to_numpy()
            preemptions[unpublished] = published_rate(cloud, None)
        preemptions = np.where(spot, preemptions, 0.0)
        for number in self._seen_before(offers):
            row = offers.row(number, named=True)
            offering = offering_of(row, use_spot=row["use_spot"])
            chance[number], preemptions[number] = self.chance(offering), self.preemptions_per_hour(offering)
        # Paid for and kept free, as far as anybody knows; what it refuses is blocked.
        return np.where(offers["reservation"].is_not_null().to_numpy(), 1.0, chance), preemptions

    def _seen_before(self, offers: pl.DataFrame) -> list[int]:
        """The rows whose kind of machine was observed."""
        types = {instance_type for _, instance_type, _, _ in self._of_kind}
        if not types:
            return []
        likely = offers.with_row_index("number").filter(offers["instance_type"].cast(str).is_in(list(types)))
        return [
            row["number"]
            for row in likely.iter_rows(named=True)
            if kind_of(offering_of(row, use_spot=row["use_spot"])) in self._of_kind
        ]

    def _near(self, offering: Offering) -> Sequence[Observation]:
        return self._of_kind.get(kind_of(offering), ())


def offering_of(row: Mapping[str, Any], *, use_spot: bool) -> Offering:
    """A row of the catalog as the tracker speaks of it."""
    return Offering(
        cloud=row["cloud"],
        region=row["region"],
        zone=row["zone"],
        instance_type=row["instance_type"],
        market="spot" if use_spot else "on-demand",
        accelerator=row["accelerator"],
        accelerator_count=row["accelerator_count"] or 0,
        interruption=row["interruption"],
    )
