"""What a recovery policy sees and says. Source of the model: Wu et al., *Can't Be Late* (NSDI'24), sections 3 to 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

State = Literal["idle", "spot", "on_demand"]
ASK_AGAIN = 1 / 6
"""Hours for which a zone is taken to have no spot after a launch was refused there, or spot was lost."""


@dataclass(frozen=True)
class Situation:
    """One moment of a job with a deadline, or without (:mod:`.patience`). Hours and USD; mappings are by zone.

    Attributes:
        now: Hours since the job was submitted.
        remaining_work: C(t), hours on the task's hardware; 0 once it is done, negative while it outruns its estimate.
        time_to_deadline: R(t), hours.
        changeover: d, hours that a start costs.
        changeover_left: Hours of it still to go on the present machine.
        decision_interval: Hours until the policy is asked again.
        total_work: C(0), hours.
        total_time: R(0), hours from submission to deadline.
        price_ratio: k, on-demand over spot price, where prices are equal over zones.
        zone: Where the job is, if anywhere.
        spot_available: Whether spot can be had now, as far as is known.
        migration_cost: USD to move the checkpoint to each zone.
        moving_hours: Hours that a start in each zone takes longer, as the checkpoint has to be brought there; 0 where
            it is not named.
        ways_out: Hours that on-demand takes longer once the checkpoint is in a zone, as the nearest that sells it is
            elsewhere; judged by ``moving_hours`` for zones that are not named.
        seen: What launches and preemptions have really shown of spot since the last situation; None where
            ``spot_available`` is all there is to go by.
        hour_usd: The weight of time: what an hour until the job's end costs besides. Only ours heeds it.
    """

    now: float
    remaining_work: float
    time_to_deadline: float
    changeover: float
    changeover_left: float
    decision_interval: float
    total_work: float
    total_time: float
    price_ratio: float
    state: State
    zone: str | None
    spot_available: Mapping[str, bool]
    spot_price: Mapping[str, float]
    on_demand_price: Mapping[str, float]
    migration_cost: Mapping[str, float]
    moving_hours: Mapping[str, float] = field(default_factory=dict)
    ways_out: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, bool] | None = None
    hour_usd: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Where the job should be until the next decision; ``zone`` is None when idle."""

    state: State
    zone: str | None


class Policy(Protocol):
    """Decides from the situation alone: everything it may remember it is given again."""

    def decide(self, situation: Situation) -> Decision:
        """The state to be in now."""
