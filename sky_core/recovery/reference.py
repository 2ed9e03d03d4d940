"""The policies of the literature, as yardsticks and for who wants them; each is to be run within the safety net.

Source: *Can't Be Late* (NSDI'24), sections 3.4 (greedy), 5.1 (time-sliced) and 5.2 (Uniform Progress).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sky_core.recovery.situation import Decision, Situation

EPSILON = 1e-9  # hours: less than this is no time
IDLE = Decision("idle", None)


@dataclass(frozen=True)
class OnDemand:
    """Never spot."""

    def decide(self, situation: Situation) -> Decision:
        """On-demand, where it is or where it is cheapest."""
        return on_demand(situation)


@dataclass(frozen=True)
class Greedy:
    """Spot whenever there is any, idle otherwise: the safety net does the rest."""

    def decide(self, situation: Situation) -> Decision:
        """Spot, or wait for it."""
        return on_spot(situation) or IDLE


@dataclass(frozen=True)
class UniformProgress:
    """Spot whenever there is any; without spot, on-demand when behind a straight line from start to deadline.

    cp(t) < ep(t) = t C(0)/R(0) means behind. On-demand is never left for idle, and for spot only once cp(t) >=
    ep(t + 2d): this reproduces the authors' figures.
    """

    def decide(self, situation: Situation) -> Decision:
        """Spot, else keep up with uniform progress."""
        if situation.state == "on_demand" and not self.is_ahead(situation):
            return on_demand(situation)
        stays = situation.state == "on_demand" or self.is_behind(situation)
        return on_spot(situation) or (on_demand(situation) if stays else IDLE)

    @staticmethod
    def is_behind(situation: Situation) -> bool:
        """Whether less is done than a straight line from start to deadline asks for."""
        progress = situation.total_work - situation.remaining_work
        return progress < situation.now * situation.total_work / situation.total_time - EPSILON

    @staticmethod
    def is_ahead(situation: Situation) -> bool:
        """Whether the line will not catch up while two changeovers are made."""
        progress = situation.total_work - situation.remaining_work
        return progress >= (situation.now + 2 * situation.changeover) * situation.total_work / situation.total_time


@dataclass(frozen=True)
class Hysteresis:
    """Uniform Progress as the text has it: on-demand is left once progress is ahead by two changeovers' time."""

    plain: UniformProgress = UniformProgress()

    def decide(self, situation: Situation) -> Decision:
        """As Uniform Progress, but on-demand is left for idle as well."""
        decision = self.plain.decide(situation)
        both = (situation.state, decision.state) == ("on_demand", "on_demand")
        return IDLE if both and self.plain.is_ahead(situation) else decision


@dataclass(frozen=True)
class TimeSliced:
    """Greedy within slices of time, each with its share of the work to do by its end (NSDI'24, section 5.1).

    Args:
        slices: How many.
    """

    slices: int = 8

    def decide(self, situation: Situation) -> Decision:
        """Spot if there is any; else wait as long as the slice's work can still be done on demand."""
        length = situation.total_time / self.slices
        ends = (int(situation.now / length + EPSILON) + 1) * length
        due = situation.remaining_work - situation.total_work * (1 - ends / situation.total_time)
        return on_spot(situation) or wait_or_work(situation, due, ends - situation.now)


def on_spot(situation: Situation) -> Decision | None:
    """Spot where the job has it, else where it is best; None if there is none."""
    if situation.state == "spot" and is_available_here(situation):
        return Decision("spot", situation.zone)
    zone = best_spot(situation)
    return Decision("spot", zone) if zone is not None else None


def on_demand(situation: Situation) -> Decision:
    """On-demand where the job has it, else where it is cheapest."""
    here = situation.zone if situation.state == "on_demand" else None
    return Decision("on_demand", here or cheapest_on_demand(situation))


def wait_or_work(situation: Situation, due: float, hours: float) -> Decision:
    """Without spot: idle as long as ``due`` hours of work can still be done within ``hours``, else on-demand."""
    begin = 0.0 if situation.state == "on_demand" else situation.changeover
    may_wait = due <= 0 or hours - situation.decision_interval >= due + begin - EPSILON
    return IDLE if may_wait else on_demand(situation)


def best_spot(situation: Situation) -> str | None:
    """The available zone where the remaining work and the move to it cost least; None if there is none."""
    offered = [zone for zone, there in situation.spot_available.items() if there and zone in situation.spot_price]
    return min(offered, key=lambda zone: (_whole(situation, situation.spot_price, zone), zone), default=None)


def cheapest_on_demand(situation: Situation) -> str | None:
    """The zone where on-demand costs least, the move included, of those where it is in time; ties by name.

    Where it is in time nowhere, the one to which the move takes least.
    """
    hours, prices = situation.moving_hours, situation.on_demand_price
    room = situation.time_to_deadline - situation.remaining_work - situation.changeover + EPSILON
    room = max(room, min((hours.get(zone, 0.0) for zone in prices), default=0.0))
    in_time = [zone for zone in prices if hours.get(zone, 0.0) <= room]
    return min(in_time, key=lambda zone: (_whole(situation, prices, zone), zone), default=None)


def _whole(situation: Situation, prices: Mapping[str, float], zone: str) -> float:
    """USD of a start in a zone and all of the remaining work there."""
    hours = situation.remaining_work + situation.changeover + situation.moving_hours.get(zone, 0.0)
    return prices[zone] * hours + situation.migration_cost.get(zone, 0.0)


def is_available_here(situation: Situation) -> bool:
    return situation.zone is not None and situation.spot_available.get(situation.zone, False)
