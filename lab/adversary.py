"""Jobs made up to be late: markets in spells, prices that spike, zones hours apart, estimates that are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from lab.simulate import Move, Sight, SpotJob, Truth
from lab.traces import Traces

ZONES: Mapping[str, str] = {"a": "west", "b": "west", "c": "east"}
"""Zone, each in a region of its own, to its continent."""


@dataclass(frozen=True)
class Trap:
    """A job, and what it turns out to need.

    Attributes:
        bound: Hours after its start by which it has to end: its deadline, and what its estimates are wrong by.
    """

    traces: Traces
    job: SpotJob
    truth: Truth
    sight: Sight
    bound: float


def trap(seed: int) -> Trap:
    """The job of a seed: half of them with wrong estimates, half with hours between zones, one in four with both.

    In half of them a move that is cut short is to be made again.
    """
    rng = np.random.default_rng(seed)
    step = float(rng.choice([1 / 12, 1 / 6, 0.5]))
    work, delay = float(rng.uniform(1, 20)), float(rng.uniform(0.02, 0.5))
    moves = _moves(rng)
    deadline = work + delay + float(rng.uniform(0, 10)) + (step if rng.random() < 0.5 else 0.0)
    ticks = int((deadline + 3) / step) + 3
    spikes = {zone: np.where(rng.random(ticks) < 0.1, 4.0, 1.0 + n / 10) for n, zone in enumerate(ZONES)}
    job = SpotJob(work, deadline, delay, spikes, _on_demand(rng), moves=moves)
    truth, bound = Truth(work, [delay]), deadline
    if rng.random() < 0.5:  # late by no more than they are wrong
        truth = Truth(work + float(rng.uniform(-0.5, 2)), rng.uniform(delay, 2 * delay, size=8).tolist())
        bound += truth.work - work + 2 * (max(truth.changeovers) - delay)
    sight: Sight = "asked" if rng.random() < 0.5 else "told"
    market = Traces(step, _market(rng, ticks))
    return Trap(market, replace(job, moved="over") if rng.random() < 0.5 else job, truth, sight, bound)


def _moves(rng: np.random.Generator) -> dict[tuple[str, str], Move]:
    """For each pair its own delay, or nothing between any; the farther apart the longer."""
    near, far = sorted(rng.uniform(0, 2, size=2)) if rng.random() < 0.5 else (0.0, 0.0)
    moves = {}
    for one, other in permutations(ZONES, 2):
        hours = near if ZONES[one] == ZONES[other] else far
        moves[one, other] = Move(0.1 * (hours > 0), float(hours))
    return moves


def _on_demand(rng: np.random.Generator) -> dict[str, float]:
    """Sold in every zone, or in some only."""
    sold = [zone for zone in ZONES if rng.random() < 0.7] or ["b"]
    return {zone: 3.0 + n / 10 for n, zone in enumerate(sold)}


def _market(rng: np.random.Generator, ticks: int) -> dict[str, np.ndarray]:
    spells = rng.geometric(rng.uniform(0.05, 0.9), size=ticks)
    up = np.repeat(np.arange(ticks) % 2 == 0, spells)[:ticks]
    up[int(rng.integers(1, ticks)) :] &= rng.random() < 0.5
    against = ~up if rng.random() < 0.5 else np.roll(up, 1)
    return {"a": up, "b": against, "c": rng.random(ticks) < rng.random()}
