"""From observations to the availability of spot over time: what a spot policy takes as a market's history."""

from __future__ import annotations

from collections.abc import Iterable

from sky_core.store.records import Observation
from sky_core.tracker.beliefs import Offering, kind_of

SHOWS_UP = {"launched": True, "released": True, "preempted": False, "capacity": False}


def availability(observations: Iterable[Observation], offering: Offering, now: float, step_s: float) -> list[bool]:
    """Whether an offering could be had, at steps of ``step_s`` seconds from its first observation to ``now``.

    ``observations`` are in the order of time. Between two signs the first one holds.
    """
    left = signs((seen for seen in observations if seen.at <= now), offering)
    if not left:
        return []
    begin = left[0][0]
    values: list[bool] = []
    for tick in range(int((now - begin) / step_s) + 1):
        while len(left) > 1 and left[1][0] <= begin + tick * step_s:
            left.pop(0)
        values.append(left[0][1])
    return values


def signs(observations: Iterable[Observation], offering: Offering) -> list[tuple[float, bool]]:
    """When it was seen that an offering could be had, or could not (seconds since the epoch).

    A launch shows that it could, as does a machine that we ended ourselves; a refusal or preemption that it could not.
    """
    here = [seen for seen in observations if _place(seen) == _place(offering)]
    return [(seen.at, SHOWS_UP[seen.kind]) for seen in here if seen.kind in SHOWS_UP]


def _place(it: Observation | Offering) -> tuple[object, ...]:
    return *kind_of(it), it.region, it.zone
