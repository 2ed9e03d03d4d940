"""Skyloom's policy: the decision of least expected cost, under what has been learnt of each zone's market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sky_core.recovery.market_model import Zone, watch
from sky_core.recovery.reference import cheapest_on_demand
from sky_core.recovery.situation import Decision, Situation
from sky_core.recovery.value import Floats, Values, values


class ExpectedCost:
    """Look up what each decision is expected to cost in the end, and take the least.

    For each zone there is a belief over models of its market (:mod:`~sky_core.recovery.market_model`); the cost of a
    decision is the mean over them of what the dynamic program says (:mod:`~sky_core.recovery.value`), plus what
    moving the checkpoint costs.

    Args:
        history: Past availability of each zone, oldest first, at steps of ``history_step`` hours.
    """

    def __init__(self, history: Mapping[str, Sequence[bool]] | None = None, history_step: float | None = None) -> None:
        past = history or {}
        self._zones = {zone: watch(seen, history_step or 0.0) for zone, seen in past.items()}
        self._looked: float | None = None

    def decide(self, situation: Situation) -> Decision:
        """The decision of least expected cost."""
        self._look(situation)
        table = values(
            round(situation.total_time, 2), round(situation.total_work, 2), situation.changeover, situation.price_ratio
        )
        options = [(self._away(table, table.idle, situation, started=False), 2, Decision("idle", None))]
        options += [self._on_demand(table, situation)]
        options += [self._spot(table, situation, zone) for zone in self._worth_a_look(situation)]
        return min(options, key=lambda option: option[:2])[2]

    @staticmethod
    def _worth_a_look(situation: Situation) -> list[str]:
        """Zones with spot. A job that has spot moves for a lower price only: the others will be there when it is taken.

        (The tables know one zone at a time, where a preemption means to wait; they would flee too early.)
        """
        zones = [zone for zone, up in situation.spot_available.items() if up]
        here = situation.zone
        if situation.state != "spot" or here not in zones:
            return zones
        return [zone for zone in zones if zone == here or situation.spot_price[zone] < situation.spot_price[here]]

    def _look(self, situation: Situation) -> None:
        hours = 0.0 if self._looked is None else situation.now - self._looked
        for name, up in situation.spot_available.items():
            zone = self._zones.setdefault(name, Zone())
            # The first look of a job follows the last of the history by one step of the same length.
            zone.observe(up, situation.decision_interval if self._looked is None and zone.up is not None else hours)
        self._looked = situation.now

    def _extra(self, situation: Situation, zone: str) -> float:
        """What a zone costs beyond the tables, which are in hours of the cheapest zone's price and know no moves."""
        cheapest = min(situation.spot_price.values())
        stay = min(situation.remaining_work, self._zones[zone].life)
        move = situation.migration_cost.get(zone, 0.0) / cheapest
        return (situation.spot_price[zone] / cheapest - 1) * stay + move

    def _away(self, table: Values, figures: Floats, situation: Situation, *, started: bool) -> float:
        """Not on spot now. The zone with the longest spell of spot (else the shortest without) stands for all.

        (The least over all zones would be too hopeful: it believes in whichever zone is known least.)
        """
        zones = situation.spot_available
        zone = max(zones, key=lambda name: (zones[name], self._zones[name].age * (1 if zones[name] else -1)))
        return self._mean(table, figures, zone, situation, started=started) + self._extra(situation, zone)

    def _on_demand(self, table: Values, situation: Situation) -> tuple[float, int, Decision]:
        here = situation.state == "on_demand"
        zone = situation.zone if here else cheapest_on_demand(situation)
        cost = self._away(table, table.on_demand, situation, started=not here)
        return cost, 1, Decision("on_demand", zone)

    def _spot(self, table: Values, situation: Situation, zone: str) -> tuple[float, int, Decision]:
        here = situation.state == "spot" and situation.zone == zone
        cost = self._mean(table, table.spot, zone, situation, started=not here) + self._extra(situation, zone)
        return cost, 0, Decision("spot", zone)

    def _mean(self, table: Values, figures: Floats, name: str, situation: Situation, *, started: bool) -> float:
        """A table's value here and now, averaged over the models and the phases that the zone may be in."""
        zone = self._zones[name]
        begin = situation.changeover if started else situation.changeover_left
        slack = situation.time_to_deadline - situation.remaining_work - begin
        market = (slice(None),) if figures is table.spot else (slice(None), int(bool(zone.up)))
        by_model = table.at(figures, (*market, slice(None)), situation.time_to_deadline, slack)
        return float(zone.weights @ by_model @ zone.phases)
