"""Spot policies with a deadline: on-demand, greedy and Uniform Progress, each within the safety net.

Rules of *Can't Be Late* (NSDI'24): thrifty (idle once the work is done), safety net (when R < C + 2d, on-demand to the
end), exploitation (stay on spot until it is taken). The safety net is what keeps the promise: whatever the policy
inside says, waiting any longer would put the deadline at risk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sky_core.errors import SpecError
from sky_core.recovery.situation import Decision, Policy, Situation


@dataclass(frozen=True)
class SafetyNet:
    """Asks the policy inside only while there is time to be wrong."""

    inside: Policy

    def decide(self, situation: Situation) -> Decision:
        """On-demand to the end once the slack is used up, else what the policy inside says."""
        if situation.remaining_work <= 0:
            return Decision("idle", None)
        # The slack must outlast the time until the next decision as well: two changeovers, to spot and away again.
        needed = situation.remaining_work + 2 * situation.changeover + situation.decision_interval
        if situation.state == "on_demand" and situation.time_to_deadline < needed:
            return Decision("on_demand", situation.zone)
        if situation.time_to_deadline < needed and not _safe_on_spot(situation):
            return Decision("on_demand", cheapest_on_demand(situation))
        return self.inside.decide(situation)


def _safe_on_spot(situation: Situation) -> bool:
    """Exploitation: a job on spot may stay while one changeover to on-demand still fits before the deadline."""
    left = situation.remaining_work + situation.changeover_left + situation.changeover + situation.decision_interval
    return situation.state == "spot" and _available_here(situation) and situation.time_to_deadline >= left


@dataclass(frozen=True)
class OnDemand:
    """Never spot."""

    def decide(self, situation: Situation) -> Decision:
        """On-demand, where it is or where it is cheapest."""
        here = situation.zone if situation.state == "on_demand" else None
        return Decision("on_demand", here or cheapest_on_demand(situation))


@dataclass(frozen=True)
class Greedy:
    """Spot whenever there is any, idle otherwise: the safety net does the rest."""

    def decide(self, situation: Situation) -> Decision:
        """Spot, or wait for it."""
        if situation.state == "spot" and _available_here(situation):
            return Decision("spot", situation.zone)
        zone = best_spot(situation)
        return Decision("spot", zone) if zone is not None else Decision("idle", None)


@dataclass(frozen=True)
class UniformProgress:
    """Spot whenever there is any; without spot, on-demand when behind a straight line from start to deadline.

    cp(t) < ep(t) = t C(0)/R(0) means behind. On-demand is left for spot, never for idle, as the authors' own
    implementation does it.
    """

    def decide(self, situation: Situation) -> Decision:
        """Spot, else keep up with uniform progress."""
        if situation.state == "spot" and _available_here(situation):
            return Decision("spot", situation.zone)
        zone = best_spot(situation)
        if zone is not None:
            return Decision("spot", zone)
        if situation.state == "on_demand":
            return Decision("on_demand", situation.zone)
        progress = situation.total_work - situation.remaining_work
        expected = situation.now * situation.total_work / situation.total_time
        return Decision("on_demand", cheapest_on_demand(situation)) if progress < expected else Decision("idle", None)


def best_spot(situation: Situation) -> str | None:
    """The available zone where the remaining work and the move to it cost least; None if there is none."""
    offered = [zone for zone, there in situation.spot_available.items() if there and zone in situation.spot_price]
    hours = situation.remaining_work + situation.changeover
    return min(
        offered, key=lambda z: (situation.spot_price[z] * hours + situation.migration_cost.get(z, 0.0), z), default=None
    )


def cheapest_on_demand(situation: Situation) -> str | None:
    """The zone where on-demand costs least, the move included; ties by name."""
    hours = situation.remaining_work + situation.changeover
    prices = situation.on_demand_price
    return min(prices, key=lambda z: (prices[z] * hours + situation.migration_cost.get(z, 0.0), z), default=None)


def _available_here(situation: Situation) -> bool:
    return situation.zone is not None and situation.spot_available.get(situation.zone, False)


POLICIES: Mapping[str, type[OnDemand] | type[Greedy] | type[UniformProgress]] = {
    "on-demand": OnDemand,
    "greedy": Greedy,
    "uniform-progress": UniformProgress,
}


def make_policy(
    name: str = "uniform-progress",
    *,
    history: Mapping[str, Sequence[bool]] | None = None,
    history_step: float | None = None,
    **options: Any,
) -> Policy:
    """A policy for one job, within the safety net.

    Args:
        history: Past availability by zone, oldest first, at steps of ``history_step`` hours. These policies need none.

    Raises:
        SpecError: if there is no policy of that name.
    """
    if name not in POLICIES:
        raise SpecError(f"policy: no policy {name!r}; there are {', '.join(POLICIES)}")
    return SafetyNet(POLICIES[name](**options))
