"""Uniform Progress with an oracle of how long spot will last: for simulation only, nobody can know that.

*Can't Be Late* (NSDI'24, section 5.4): from idle, spot is worth a changeover if it lasts longer than k d / (k - 1);
from on-demand, twice that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.traces import Traces
from sky_core.recovery.reference import IDLE, UniformProgress, on_demand
from sky_core.recovery.situation import Decision, Situation


@dataclass(frozen=True)
class NextLifetime:
    """Takes spot only if the oracle says that it will pay off.

    Args:
        traces: One zone, the one that is simulated.
        start: The tick at which the job starts.
    """

    traces: Traces
    start: int

    def decide(self, situation: Situation) -> Decision:
        """Spot if it lasts, else what Uniform Progress does without spot."""
        zone = next(iter(self.traces.up))
        if situation.spot_available[zone] and (situation.state == "spot" or self._pays(situation, zone)):
            return Decision("spot", zone)
        stays = situation.state == "on_demand" or UniformProgress.is_behind(situation)
        return on_demand(situation) if stays else IDLE

    def _pays(self, situation: Situation, zone: str) -> bool:
        tick = self.start + round(situation.now / self.traces.step)
        ahead = self.traces.up[zone][tick:]
        lasts = len(ahead) if ahead.all() else int(np.argmin(ahead))
        least = situation.price_ratio * situation.changeover / (situation.price_ratio - 1)
        return lasts * self.traces.step > least * (2 if situation.state == "on_demand" else 1)
