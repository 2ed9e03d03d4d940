"""From observations to the availability of spot over time: what a spot policy takes as a market's history."""

from __future__ import annotations

from collections.abc import Iterable

from sky_core.store.records import Observation
from sky_core.tracker.beliefs import Offering, kind_of

SHOWS_UP = {"launched": True, "released": True, "preempted": False, "capacity": False}


def availability(observations: Iterable[Observation], offering: Offering, now: float, step_s: float) -> list[bool]:
    """Whether an offering could be had, at steps of ``step_s`` seconds from its first observation to ``now``.

    ``observations`` are in the order of time. A launch shows that it could, as does a machine that we ended
    ourselves; a refusal or preemption shows that it could not. Between two signs the first one holds.
    """
    signs = [
        (seen.at, SHOWS_UP[seen.kind])
        for seen in observations
        if seen.kind in SHOWS_UP and seen.at <= now and _place(seen) == _place(offering)
    ]
    if not signs:
        return []
    begin = signs[0][0]
    values: list[bool] = []
    for tick in range(int((now - begin) / step_s) + 1):
        while len(signs) > 1 and signs[1][0] <= begin + tick * step_s:
            signs.pop(0)
        values.append(signs[0][1])
    return values


def _place(it: Observation | Offering) -> tuple[object, ...]:
    return *kind_of(it), it.region, it.zone
