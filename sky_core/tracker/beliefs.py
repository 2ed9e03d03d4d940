"""From observations to chances and rates, with forgetting and honest priors.

Both beliefs pool over nested scopes (cloud, region, zone): the belief about the wider scope is the prior of the
narrower one, worth ``PRIOR_WEIGHT`` observations, and old observations count less. Without any observation the
answer is the published prior.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sky_core.facts import facts_of
from sky_core.store.records import Market, Observation

CHANCE_HALF_LIFE_H = 12.0
"""A stock-out usually lasts hours: half the weight of a launch or refusal is gone after that long."""
RATE_HALF_LIFE_H = 7 * 24.0
"""Spot regimes last longer (5% price movement a week on AWS; dissertation, chapter 5)."""
PRIOR_WEIGHT = 2.0
PRIOR_EXPOSURE_H = 24.0
"""Hours of running that the prior of a preemption rate is worth: about one day's experience outweighs it."""

HOURS_PER_MONTH = 730.0

PRIOR_CHANCE: dict[Market, float] = {"on-demand": 0.95, "spot": 0.8}
PRIOR_CHANCE_MANY_GPUS = 0.25
"""Machines with 8 or more accelerators took 3 to 5 attempts on AWS (dissertation, failover experiment)."""
MANY_GPUS = 8


@dataclass(frozen=True)
class Offering:
    """What a belief is about: one kind of machine in one place and market.

    Attributes:
        interruption: Published probability of an interruption within a month, None where there is none.
        reservation: What a launch names to get there, None for what is sold to all.
        num_nodes: How many machines of it are wanted at once.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    market: Market
    accelerator: str | None = None
    accelerator_count: float = 0
    interruption: float | None = None
    reservation: str | None = None
    num_nodes: int = 1


def chance(offering: Offering, observations: Iterable[Observation], now: float) -> float:
    """Probability that a launch tried at ``now`` succeeds."""
    crowded = offering.accelerator_count >= MANY_GPUS
    belief = min(PRIOR_CHANCE[offering.market], PRIOR_CHANCE_MANY_GPUS if crowded else 1.0)
    attempts = [seen for seen in observations if seen.kind in ("launched", "capacity", "quota")]
    for near in _scopes(offering, attempts):
        weights = [(_weight(seen, now, CHANCE_HALF_LIFE_H), seen.kind == "launched") for seen in near]
        got = sum(weight for weight, launched in weights if launched)
        belief = (PRIOR_WEIGHT * belief + got) / (PRIOR_WEIGHT + sum(weight for weight, _ in weights))
    return belief


def preemptions_per_hour(offering: Offering, observations: Iterable[Observation], now: float) -> float:
    """Expected rate at which the cloud takes a running spot machine back; 0 on demand.

    The expected lifetime is its reciprocal. Machines that we ended ourselves count with the hours they ran.
    """
    if offering.market == "on-demand":
        return 0.0
    belief = published_rate(offering.cloud, offering.interruption)
    ended = [seen for seen in observations if seen.kind in ("preempted", "released") and seen.hours is not None]
    for near in _scopes(offering, ended):
        weights = [(_weight(seen, now, RATE_HALF_LIFE_H), seen) for seen in near]
        events = sum(weight for weight, seen in weights if seen.kind == "preempted")
        exposure = sum(weight * (seen.hours or 0.0) for weight, seen in weights)
        belief = (PRIOR_EXPOSURE_H * belief + events) / (PRIOR_EXPOSURE_H + exposure)
    return belief


def published_rate(cloud: str, interruption: float | None) -> float:
    """Preemptions per hour by what the cloud publishes: a monthly probability, else its general figure."""
    if interruption is not None:
        return -math.log1p(-interruption) / HOURS_PER_MONTH
    return facts_of(cloud).preemptions_per_hour


def _scopes(offering: Offering, seen: Sequence[Observation]) -> list[list[Observation]]:
    """The observations of this kind of machine: in its cloud, in its region, in its zone."""
    kind = [item for item in seen if kind_of(item) == kind_of(offering)]
    region = [item for item in kind if item.region == offering.region]
    zone = [item for item in region if item.zone == offering.zone]
    return [kind, region, zone]


def kind_of(it: Observation | Offering) -> tuple[str, str, str | None, Market]:
    """What two observations must share to say anything about each other."""
    return it.cloud, it.instance_type, it.accelerator, it.market


def _weight(seen: Observation, now: float, half_life_h: float) -> float:
    return float(0.5 ** (max(0.0, now - seen.at) / 3600 / half_life_h))
