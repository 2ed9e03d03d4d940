"""A spot policy that always wants the same market."""

from __future__ import annotations

from sky_core.recovery import Decision, Situation
from sky_core.recovery.situation import State


class Stubborn:
    """Keeps :class:`sky_core.recovery.Policy`; Skyloom's safety net around it keeps the deadline."""

    def __init__(self, market: State = "spot") -> None:
        self.market: State = market

    def decide(self, situation: Situation) -> Decision:
        """The cheapest zone of the market that it wants."""
        prices = situation.spot_price if self.market == "spot" else situation.on_demand_price
        if self.market == "idle" or not prices:
            return Decision("idle", None)
        return Decision(self.market, min(prices, key=lambda zone: (prices[zone], zone)))
