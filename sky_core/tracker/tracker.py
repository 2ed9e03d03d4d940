"""The tracker: what is really to be had, from what all of a team's runs have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sky_core.store.records import Observation
from sky_core.tracker.beliefs import Offering, chance, kind_of, preemptions_per_hour
from sky_core.tracker.blocked import Blocked, blocked


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
            self._of_kind[kind_of(item)].append(item)

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
