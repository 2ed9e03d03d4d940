"""Skyloom's policy: the decision of least expected cost, under what has been learnt of each zone's market."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sky_core.recovery.market_model import Zone, watch
from sky_core.recovery.reference import IDLE, on_demand
from sky_core.recovery.situation import Decision, Situation
from sky_core.recovery.value import ELSEWHERE, Values, bracket, values

Floats = NDArray[np.floating[Any]]


class ExpectedCost:
    """Look up what each decision is expected to cost in the end, and take the least.

    For each zone there is a belief over models of its market (:mod:`~sky_core.recovery.market_model`), and one more
    for all zones taken as one, which is down only when all are. The cost of a decision is the mean over them of what
    the dynamic program says (:mod:`~sky_core.recovery.value`), plus what a dearer zone and the move to it cost.

    Args:
        history: Past availability of each zone, oldest first, at steps of ``history_step`` hours; all end now.
    """

    def __init__(self, history: Mapping[str, Sequence[bool]] | None = None, history_step: float | None = None) -> None:
        past = history or {}
        self._zones = {zone: watch(seen, history_step or 0.0) for zone, seen in past.items()}
        newest_first = zip_longest(*(reversed(seen) for seen in past.values()), fillvalue=False)
        self._any = watch([any(seen) for seen in newest_first][::-1], history_step or 0.0)
        self._looked: float | None = None

    def decide(self, situation: Situation) -> Decision:
        """The decision of least expected cost; among equals spot, then on-demand."""
        self._look(situation)
        zones = {zone: self._zones[zone] for zone in situation.spot_available if zone in situation.spot_price}
        if not zones:
            return on_demand(situation)
        costs = _Costs(situation, zones, self._any)
        options = [(costs.spot(zone), Decision("spot", zone)) for zone in _worth_a_look(situation)]
        best = min(options, key=_cost)[1].zone if options else None
        options += [(costs.away(decision, best), decision) for decision in (on_demand(situation), IDLE)]
        return min(options, key=_cost)[1]

    def _look(self, situation: Situation) -> None:
        for name, up in situation.spot_available.items():
            self._observe(self._zones.setdefault(name, Zone()), up, situation)
        self._observe(self._any, any(situation.spot_available.values()), situation)
        self._looked = situation.now

    def _observe(self, zone: Zone, up: bool, situation: Situation) -> None:
        """A job's first look follows the last of the history by a decision interval."""
        zone.observe(up, situation.decision_interval if self._looked is None else situation.now - self._looked)


class _Costs:
    """What decisions are expected to cost in the end, in hours of the cheapest zone's spot price.

    Args:
        zones: What is believed of each zone with a price.
        market: What is believed of all of them taken as one.
    """

    def __init__(self, situation: Situation, zones: Mapping[str, Zone], market: Zone) -> None:
        self._situation, self._zones, self._market = situation, zones, market
        self._cheapest = min(situation.spot_price[zone] for zone in zones)
        self._tables = _tables(situation, self._cheapest)
        self._slack = situation.time_to_deadline - situation.remaining_work
        self._down = market.weights(up=False)
        self._gone = {name: 1 - zone.availability() for name, zone in zones.items()}
        self._started = self._at(self._tables.spot, situation.changeover)

    def spot(self, zone: str) -> float:
        """To be on spot in a zone that has it."""
        stays = (self._situation.state, self._situation.zone) == ("spot", zone)
        table = self._at(self._tables.spot, self._situation.changeover_left) if stays else self._started
        return self._mean(table, zone) + self._dearer(zone) + self._move(zone)

    def away(self, decision: Decision, best: str | None) -> float:
        """To be idle or on-demand; ``best`` is where spot, if there is any, costs least.

        (That zone stands for all: the least over all zones would be too hopeful, as it believes in whichever is known
        least.)
        """
        situation = self._situation
        if decision.state == "idle":
            table = self._at(self._tables.idle, 0.0)
        else:
            begin = situation.changeover_left if situation.state == "on_demand" else situation.changeover
            table = self._at(self._tables.on_demand, begin)
        moves = sum(self._move(name) for name in {decision.zone, best} - {None, situation.zone})
        if best is None:
            return self._nowhere(table[..., 0, :]) + moves
        return self._mean(table[..., 1, :], best) + self._dearer(best) + moves

    def _at(self, table: Floats, begin: float) -> Floats:
        """A table here and now, with so many hours of a changeover to go."""
        return self._tables.at(table, self._situation.time_to_deadline, self._slack - begin)

    def _mean(self, table: Floats, name: str) -> float:
        """(up scale, down scale, ELSEWHERE, phase) averaged over what is believed while spot is up in a zone."""
        zone = self._zones[name]
        return self._weigh(table, zone.weights(up=True), 1 - self._none_but(name), zone.phases())

    def _nowhere(self, table: Floats) -> float:
        """The same while spot is up nowhere: who comes back first is not known."""
        up = np.mean([zone.weights(up=True) for zone in self._zones.values()], axis=0)
        elsewhere = 1 - float(np.mean([self._none_but(name) for name in self._zones]))
        return self._weigh(table, up, elsewhere, self._market.phases())

    def _weigh(self, table: Floats, up: Floats, elsewhere: float, phases: Floats) -> float:
        low, part = bracket(ELSEWHERE, elsewhere)
        behind = table[:, :, low] * (1 - part) + table[:, :, low + 1] * part
        return float(np.einsum("udp,u,d,p->", behind, up, self._down, phases))

    def _none_but(self, name: str) -> float:
        """The chance that no other zone has spot, at some time."""
        return math.prod(gone for zone, gone in self._gone.items() if zone != name)

    def _dearer(self, zone: str) -> float:
        """What a zone's spot costs more than the cheapest zone's, while it lasts."""
        life = self._zones[zone].life()
        stay = life * -math.expm1(-self._situation.remaining_work / life)
        return (self._situation.spot_price[zone] / self._cheapest - 1) * stay

    def _move(self, zone: str | None) -> float:
        return self._situation.migration_cost.get(zone or "", 0.0) / self._cheapest


def _cost(option: tuple[float, Decision]) -> float:
    return option[0]


def _worth_a_look(situation: Situation) -> list[str]:
    """Zones with spot. A job that has spot moves for a lower price only: the others will be there when it is taken."""
    zones = [zone for zone, up in situation.spot_available.items() if up and zone in situation.spot_price]
    here = situation.zone
    if situation.state != "spot" or here not in zones:
        return zones
    return [zone for zone in zones if zone == here or situation.spot_price[zone] < situation.spot_price[here]]


def _tables(situation: Situation, cheapest: float) -> Values:
    """Of jobs much like this one, so that they are shared.

    The changeover is rounded up: tables that took it for less would lead into the safety net, which is on-demand.
    """
    changeover = _next_power(max(situation.changeover, 0.01), 1.15)
    prices = situation.on_demand_price.values()
    ratio = min(prices) / cheapest if prices else situation.price_ratio
    return values(changeover, round(ratio, 1), _next_power(max(situation.total_time, 1.0), math.sqrt(2)))


def _next_power(value: float, base: float) -> float:
    return float(base ** math.ceil(math.log(value, base) - 1e-9))
