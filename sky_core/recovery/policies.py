"""Spot policies by name, each within the safety net, which alone keeps the promise never to be late.

Rules of *Can't Be Late* (NSDI'24, section 3.3): thrifty (idle once the work is done), safety net (on-demand to the end
before it is too late), exploitation (stay on spot until it is taken).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from sky_core.errors import SpecError
from sky_core.plugins import load, names
from sky_core.recovery.randomized import RandomizedShiftedGreedy, Ross
from sky_core.recovery.reference import (
    EPSILON,
    IDLE,
    Greedy,
    Hysteresis,
    OnDemand,
    TimeSliced,
    UniformProgress,
    is_available_here,
    on_demand,
)
from sky_core.recovery.situation import Decision, Policy, Situation
from sky_core.recovery.weighing import Weighing, weighing_of


@dataclass(frozen=True)
class SafetyNet:
    """Lets the policy inside decide only what leaves a way to the deadline, whatever the market does.

    The invariant: away from spot, time left >= work left + d and the least hours that on-demand takes for bringing the
    checkpoint there, so that it can be started and end in time. Idle keeps it for one more interval if there is an
    interval to spare; spot keeps it if two starts fit, as one may be lost to a preemption; and a job that got onto spot
    in this way may stay until it is taken (exploitation).

    A job that outruns its estimate has less than no work left (0 is for a job that is done): it stays where it is, and
    goes on-demand if spot is taken, so that it ends late by no more than the estimate was wrong. With changeovers of up
    to d' > d every job ends by R(0) + delta + 2 (d' - d): one each for the last spot and for on-demand (section 5.6).
    """

    inside: Policy

    @property
    def weighed(self) -> Weighing | None:
        """What the policy inside weighed last."""
        return weighing_of(self.inside)

    def decide(self, situation: Situation) -> Decision:
        """What the policy inside says if that is safe, else on-demand."""
        if situation.remaining_work == 0:
            return IDLE
        if situation.remaining_work > 0:
            wish = self.inside.decide(situation)
            if _is_safe(wish, situation):
                return wish
        if situation.state == "spot" and is_available_here(situation):
            return Decision("spot", situation.zone)
        return on_demand(situation)


def _is_safe(wish: Decision, situation: Situation) -> bool:
    slack = situation.time_to_deadline - situation.remaining_work + EPSILON
    if wish.state == "on_demand":
        return (situation.state, situation.zone) == ("on_demand", wish.zone) or slack >= _start(situation, wish.zone)
    if wish.state == "idle":
        return slack - situation.decision_interval >= situation.changeover + _way_out(situation)
    if (situation.state, situation.zone) == ("spot", wish.zone):
        return True
    lost = _start(situation, wish.zone)
    return slack >= lost + situation.changeover + max(_way_out(situation), _way_out(situation, wish.zone))


def _start(situation: Situation, zone: str | None) -> float:
    return situation.changeover + situation.moving_hours.get(zone or "", 0.0)


def _way_out(situation: Situation, begin: str | None = None) -> float:
    """The least hours that on-demand takes for bringing the checkpoint there, from where it is or from ``begin``.

    What a move between two other zones takes may not be told. Then it counts as the longer of the moves to them, since
    what matters is whether they share a region or a continent.
    """
    hours = situation.moving_hours
    if begin is None:
        return min((hours.get(zone, 0.0) for zone in situation.on_demand_price), default=0.0)
    if begin in situation.ways_out:
        return situation.ways_out[begin]
    ways = (0.0 if zone == begin else max(hours.get(zone, 0.0), hours.get(begin, 0.0))
            for zone in situation.on_demand_price)  # fmt: skip
    return min(ways, default=0.0)


REFERENCE: Mapping[str, Callable[..., Policy]] = {
    "on-demand": OnDemand,
    "greedy": Greedy,
    "time-sliced": TimeSliced,
    "uniform-progress": UniformProgress,
    "uniform-progress-hysteresis": Hysteresis,
    "randomized-shifted-greedy": RandomizedShiftedGreedy,
    "ross": Ross,
}
NAMES = ("skyloom", *REFERENCE)


def make_policy(
    name: str = "skyloom",
    *,
    history: Mapping[str, Sequence[bool]] | None = None,
    history_step: float | None = None,
    **options: Any,
) -> Policy:
    """A policy for one job, within the safety net.

    Args:
        name: One of ``NAMES``.
        history: Past availability by zone, oldest first, at steps of ``history_step`` hours; only ours learns from it.
        options: What the policy's class takes: ``slices``, and ``seed`` for the randomized ones.

    A policy of another name comes from a package's entry point in ``skyloom.policies``: something that makes one from
    the options.

    Raises:
        SpecError: if there is no policy of that name, it does not take the options, or ``history`` comes without its
            step.
    """
    if name not in NAMES:
        others = names("skyloom.policies")
        if name not in others:
            raise SpecError(f"policy: no policy {name!r}; there are {', '.join((*NAMES, *others))}")
        return SafetyNet(_made(name, cast(Callable[..., Policy], load("skyloom.policies", name)), options))
    if name == "skyloom":
        from sky_core.recovery.ours import ExpectedCost  # brings numpy and the tables: only who asks for it pays

        if history and not history_step:
            raise SpecError("history_step: history needs the hours between two of its values")
        return SafetyNet(_made(name, partial(ExpectedCost, history, history_step), options))
    return SafetyNet(_made(name, REFERENCE[name], options))


def _made(name: str, factory: Callable[..., Policy], options: Mapping[str, Any]) -> Policy:
    try:
        return factory(**options)
    except (TypeError, ValueError) as error:
        raise SpecError(f"policy {name}: options {', '.join(options) or '(none)'}: {error}") from error
