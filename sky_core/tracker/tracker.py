"""The tracker: what is really to be had, from what all of a team's runs have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sky_core.store.records import Observation
from sky_core.tracker.beliefs import Offering, chance, preemptions_per_hour
from sky_core.tracker.blocked import Blocked, blocked
from sky_core.tracker.cost import effective_price, expected_overhead

if TYPE_CHECKING:
    import polars as pl


class Tracker:
    """Answers about offerings at one moment, from observations of the past.

    Attributes:
        now: The moment it speaks of, seconds since the epoch.
    """

    def __init__(self, observations: Iterable[Observation], now: float) -> None:
        self.now = now
        self._seen = tuple(observations)
        self._of_kind: dict[tuple[str, str, str], list[Observation]] = defaultdict(list)
        for item in self._seen:
            self._of_kind[item.cloud, item.instance_type, item.market].append(item)

    def blocked(self, ttl_s: float) -> list[Blocked]:
        """The scopes not worth trying now (see :func:`~sky_core.tracker.blocked.blocked`)."""
        return blocked(self._seen, self.now, ttl_s)

    def chance(self, offering: Offering) -> float:
        """Probability that a launch tried now succeeds."""
        return chance(offering, self._near(offering), self.now)

    def preemptions_per_hour(self, offering: Offering) -> float:
        """Expected preemptions per hour of running; its reciprocal is the expected spot lifetime, hours."""
        return preemptions_per_hour(offering, self._near(offering), self.now)

    def _near(self, offering: Offering) -> Sequence[Observation]:
        return self._of_kind.get((offering.cloud, offering.instance_type, offering.market), ())

    def rate(
        self,
        candidates: pl.DataFrame,
        *,
        use_spot: bool,
        work_hours: float,
        changeover_hours: float,
        checkpoint_hours: float | None,
    ) -> pl.DataFrame:
        """The candidates with columns ``chance``, ``preemptions_per_hour``, ``overhead`` and ``effective_price``.

        Args:
            candidates: Rows of :meth:`Catalog.query`.
            use_spot: The market whose price counts.
            work_hours: Useful work of the task.
            changeover_hours: Boot, set-up and restore after a preemption.
            checkpoint_hours: Time to take a checkpoint; None if the task cannot be checkpointed.
        """
        import polars as pl

        price = "spot_price" if use_spot else "price"

        def answer(row: Mapping[str, Any]) -> dict[str, float]:
            offering = offering_of(row, use_spot=use_spot)
            preemptions = self.preemptions_per_hour(offering)
            overhead = expected_overhead(
                work_hours, preemptions, changeover_hours=changeover_hours, checkpoint_hours=checkpoint_hours
            )
            return {
                "chance": self.chance(offering),
                "preemptions_per_hour": preemptions,
                "overhead": overhead,
                "effective_price": effective_price(row[price], overhead),
            }

        schema = dict.fromkeys(("chance", "preemptions_per_hour", "overhead", "effective_price"), pl.Float64())
        return candidates.hstack(pl.DataFrame([answer(row) for row in candidates.iter_rows(named=True)], schema=schema))


def offering_of(row: Mapping[str, Any], *, use_spot: bool) -> Offering:
    """A row of the catalog as the tracker speaks of it."""
    return Offering(
        cloud=row["cloud"],
        region=row["region"],
        zone=row["zone"],
        instance_type=row["instance_type"],
        market="spot" if use_spot else "on-demand",
        accelerator_count=row["accelerator_count"] or 0,
        interruption=row["interruption"],
    )
