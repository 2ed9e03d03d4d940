"""Spot for a task without checkpoints: a preemption costs all that was done, so there is one question only."""

from __future__ import annotations

from dataclasses import dataclass

from sky_core.recovery.reference import EPSILON, IDLE, best_spot, is_available_here, on_demand
from sky_core.recovery.situation import Decision, Situation


@dataclass(frozen=True)
class StartOver:
    """Spot as long as the whole task could still be done on demand after losing it at the very end.

    That takes R >= 2 (C + d) at a start; until then it waits for spot, after that it pays. ``remaining_work`` has to
    be all of the work whenever the job is not on a machine, as nothing is kept. It needs no safety net.
    """

    def decide(self, situation: Situation) -> Decision:
        """Stay where it is; else spot, idle or on-demand by the time that is left."""
        if situation.remaining_work == 0:
            return IDLE
        if situation.state == "on_demand" or (situation.state == "spot" and is_available_here(situation)):
            return Decision(situation.state, situation.zone)
        whole_twice = 2 * (situation.total_work + situation.changeover) - EPSILON
        zone = best_spot(situation)
        if zone is not None and situation.time_to_deadline >= whole_twice:
            return Decision("spot", zone)
        if zone is None and situation.time_to_deadline - situation.decision_interval >= whole_twice:
            return IDLE
        return on_demand(situation)
