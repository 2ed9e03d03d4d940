"""Skyloom's policy: the decision of least expected cost, under what has been learnt of each zone's market."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sky_core.recovery.beliefs.answers import Answers
from sky_core.recovery.beliefs.distances import Distances
from sky_core.recovery.beliefs.market_model import PHASES, Zone
from sky_core.recovery.beliefs.sightings import Sightings
from sky_core.recovery.reference import IDLE, cheapest_on_demand, on_demand
from sky_core.recovery.situation import Decision, Situation, State
from sky_core.recovery.value import FORBIDDEN, Values, Zones, solve
from sky_core.recovery.weighing import Weighing

Floats = NDArray[np.floating[Any]]

MOST_ZONES = 7
"""The cheapest are weighed against each other; each more makes the tables dearer."""
KEPT_HOURS = 3.0
"""Tables are made anew after so long, as beliefs change by and by."""
AWAY_HOURS = 0.3
"""The same for a job that is not on spot and asks several zones: what refusals say of zones other than the one at hand
is in new tables only."""
SETTLED_HOURS = 12.0
"""The same for a job on the cheapest machine there is: nothing that its tables could say would make it leave."""
SAME_START = 0.2
"""Tables are made anew when starts turn out to take longer or less long than they were made for, by more than this
share: a job's first start is foretold, the others are as long as those before them."""
FIRST_STEP = (1 / 12, 1 / 4)
"""Hours: the least and the longest first step of the tables."""
WORTH_LEAVING = 0.5
"""Changeovers that are to be gained by leaving a spot machine to wait for a better one. It is asked at every look, and
estimates waver; to leave is for good, to stay is not."""
WORTH_MOVING = 0.13
"""What is to be gained by a move instead of waiting for the zone at hand, in units of the move's price (egress, and its
start), while slack is plentiful. A move can be made later, none can be taken back, and the lowest of estimates that
waver is likely too low."""
PLENTY = 0.65
"""Slack is plentiful while as much of it is left, by hour of work, as this share of what the job began with. Where it
gets scarce nothing more is asked of a move: slack that is waited away is paid for on demand."""


@dataclass(frozen=True)
class _Tables:
    """Values, and what they were solved for."""

    names: list[str]
    home: str | None
    solved: float  # hours since the job was submitted
    zones: Zones
    values: Values


class ExpectedCost:
    """Work out what each decision is expected to cost in the end, and take the least.

    For each zone there is a belief over models of its market, fed by what the job's launches show
    (:mod:`~sky_core.recovery.beliefs`). Under these a dynamic program over all zones
    (:mod:`~sky_core.recovery.value`) says what it is worth to be anywhere. It is solved anew when the job is not on
    spot and has learnt something, and every few hours.

    Args:
        history: Past availability of each zone, oldest first, at steps of ``history_step`` hours; all end now.
    """

    def __init__(self, history: Mapping[str, Sequence[bool]] | None = None, history_step: float | None = None) -> None:
        self._seen = Sightings(history, history_step)
        self._answers = Answers()
        self._distances = Distances()
        self._tables: _Tables | None = None
        self._began: float | None = None  # with so many hours of slack for each of work
        self.weighed: Weighing | None = None

    def decide(self, situation: Situation) -> Decision:
        """The decision of least expected cost; among equals spot, then on-demand.

        A job that was never started takes spot where it is offered for less than on-demand: its first start moves
        nothing, and only a launch shows what a zone is worth. The tables would have it wait, as they tell a job what
        state its zone is in.
        """
        self._answers.look(situation)
        while True:
            if _minds_all(situation):
                decision = self._decide(situation, told=self._answers.told)
            else:
                decision = self._decide(self._answers.shown(situation), told=False)
            if self._answers.answer(situation, decision):
                return decision

    def _decide(self, situation: Situation, *, told: bool) -> Decision:
        self._seen.look(situation, told=told)
        if self._seen.home is not None:
            self._distances.tell(self._seen.home, situation.migration_cost, situation.moving_hours)
        decision = self._least(situation)
        self._seen.decided(situation, decision)
        return decision

    def _least(self, situation: Situation) -> Decision:
        names = _worth_a_look(situation, self._seen.home)
        spared = _slack_by_work(situation)
        self._began = spared if self._began is None else self._began
        self.weighed = None
        if not any(name in situation.spot_price for name in names):
            return on_demand(situation)
        costs = _Costs(situation, self._solved(situation, names), self._seen, spared > PLENTY * max(self._began, 0.0))
        spot = costs.spot()
        certain = costs.on_demand()
        options = [*spot, *certain]
        offered = min(spot, key=_cost, default=(FORBIDDEN, IDLE))[0]
        if self._seen.home is not None or offered >= min([FORBIDDEN, *(cost for cost, _ in certain)]):
            options.append((costs.idle(), IDLE))
        self.weighed = Weighing({decision: cost for cost, decision in options if cost < FORBIDDEN}, costs.up())
        return min(options, key=_cost)[1]

    def _solved(self, situation: Situation, names: list[str]) -> _Tables:
        tables, slack = self._tables, situation.time_to_deadline - situation.remaining_work
        stays = _has_spot(situation)
        if (
            tables is None
            or (tables.names, tables.home) != (names, self._seen.home)
            or situation.now - tables.solved > _lasting(situation, names)
            or slack > 1.05 * tables.values.slacks[-1]
            or not math.isclose(_start(situation), tables.zones.changeover, rel_tol=SAME_START)
            or situation.hour_usd != tables.zones.hour_usd
            or (self._seen.news and not stays)
        ):
            zones = self._zones(situation, names)
            first = min(max(situation.decision_interval, FIRST_STEP[0]), FIRST_STEP[1])
            values = solve(zones, max(situation.time_to_deadline, first), slack, first=first, keep=SETTLED_HOURS)
            tables = self._tables = _Tables(names, self._seen.home, situation.now, zones, values)
            self._seen.news = False
        return tables

    def _zones(self, situation: Situation, names: list[str]) -> Zones:
        known = [self._seen.zones.get(name) or Zone() for name in names]
        usd, hours = self._distances.between(names, (situation.migration_cost, situation.moving_hours))
        return Zones(
            spot=np.array([situation.spot_price.get(name, np.inf) for name in names]),
            on_demand=np.array([situation.on_demand_price.get(name, np.inf) for name in names]),
            usd=usd,
            hours=hours,
            changeover=_start(situation),
            rates=np.stack([zone.rates() for zone in known]),
            now=np.stack([zone.forecast() for zone in known]),
            told=self._seen.told,
            hour_usd=situation.hour_usd,
        )


class _Costs:
    """What decisions are expected to cost in the end, USD.

    A job that has spot leaves it for a lower price only: the other zones will be there when it is taken.
    """

    def __init__(self, situation: Situation, tables: _Tables, seen: Sightings, plenty: bool) -> None:
        self._situation, self._tables, self._seen, self._plenty = situation, tables, seen, plenty
        self._ahead = situation.now - tables.solved
        self._slack = situation.time_to_deadline - situation.remaining_work
        prices = situation.spot_price
        stays = _has_spot(situation)
        most = prices.get(situation.zone or "", np.inf) if stays else np.inf
        self._zones = [
            (i, name)
            for i, name in enumerate(tables.names)
            if not stays or name == situation.zone or prices.get(name, np.inf) < most
        ]
        self._states = {name: (seen.zones.get(name) or Zone()).forecast() for _, name in self._zones}

    def spot(self) -> list[tuple[float, Decision]]:
        """To be on spot, in each zone that may have it."""
        offered = [
            (i, name)
            for i, name in self._zones
            if name in self._situation.spot_price and self._situation.spot_available.get(name, False)
        ]
        needed = 2 * self._situation.changeover - 1e-9
        costs = []
        for (cost, begins), (_, name) in zip(self._run("spot", offered), offered, strict=True):
            unsafe = begins is not None and self._slack < begins + needed
            costs.append((cost + self._moving(name) + (FORBIDDEN if unsafe else 0.0), Decision("spot", name)))
        return costs

    def _moving(self, zone: str) -> float:
        """USD that are to be gained by a start on spot in a zone, if it moves the job."""
        if not self._plenty or self._seen.home is None or zone in (self._seen.home, self._situation.zone):
            return 0.0
        starts = self._situation.changeover * self._situation.spot_price[zone]
        return WORTH_MOVING * (self._situation.migration_cost.get(zone, 0.0) + starts)

    def on_demand(self) -> list[tuple[float, Decision]]:
        """To be on-demand: where the job is, if it is, or in any zone."""
        here = [(i, name) for i, name in self._zones if self._runs("on_demand", name)]
        offered = here or [(i, name) for i, name in self._zones if name in self._situation.on_demand_price]
        late, left = self._tables.zones.late, self._slack - self._situation.changeover
        return [
            (cost + (max(0.0, begins - left) * late if begins is not None else 0.0), Decision("on_demand", name))
            for (cost, begins), (_, name) in zip(self._run("on_demand", offered), offered, strict=True)
        ]

    def idle(self) -> float:
        """To wait where the checkpoint is, or for the cheapest zone where there is none."""
        names, values = self._tables.names, self._tables.values
        prices = [self._situation.spot_price.get(name, np.inf) for name in names]
        home = names.index(self._seen.home) if self._seen.home in names else int(np.argmin(prices))
        state = (self._seen.zones.get(names[home]) or Zone()).forecast()
        waits = values.at(values.idle, self._ahead, np.array([home]), np.array([self._slack]))[0] @ state
        return float(waits) + self._leaving()

    def _leaving(self) -> float:
        """USD that are to be gained by leaving the spot machine where the job is, if it has one."""
        if not _has_spot(self._situation):
            return 0.0
        return (
            WORTH_LEAVING * self._situation.changeover * self._situation.spot_price.get(self._situation.zone or "", 0.0)
        )

    def up(self) -> dict[str, float]:
        """How probable it is held that spot is there, by zone."""
        return {name: float(state[PHASES:].sum()) for name, state in self._states.items()}

    def _run(self, state: State, zones: list[tuple[int, str]]) -> list[tuple[float, float | None]]:
        """What it costs to run in each of some zones, and the hours that the move there takes; None where it runs."""
        if not zones:
            return []
        situation, values = self._situation, self._tables.values
        table = values.spot if state == "spot" else values.on_demand
        hours = [None if self._runs(state, name) else situation.moving_hours.get(name, 0.0) for _, name in zones]
        begin = [situation.changeover_left if move is None else situation.changeover + move for move in hours]
        found = values.at(table, self._ahead, np.array([i for i, _ in zones]), self._slack - np.array(begin))
        costs = []
        for (_, name), row, move in zip(zones, found, hours, strict=True):
            states = self._states[name][-row.size :]  # with spot up, where it is about spot
            usd = 0.0 if move is None else situation.migration_cost.get(name, 0.0)
            costs.append((float(row @ states) / max(float(states.sum()), 1e-9) + usd, move))
        return costs

    def _runs(self, state: State, zone: str) -> bool:
        return (self._situation.state, self._situation.zone) == (state, zone)


def _minds_all(situation: Situation) -> bool:
    """Whether all that is told of other zones counts: where there is no other, or moves are free.

    As long as nothing was done there is nothing to be moved, which says nothing of later moves.
    """
    moves = (*situation.migration_cost.values(), *situation.moving_hours.values())
    begun = situation.remaining_work < situation.total_work
    return len(situation.spot_available) == 1 or (begun and not any(moves))


def _cost(option: tuple[float, Decision]) -> float:
    return option[0]


def _slack_by_work(situation: Situation) -> float:
    """Hours of slack for each hour of work."""
    work = max(situation.remaining_work, situation.changeover, 0.01)
    return (situation.time_to_deadline - situation.remaining_work) / work


def _start(situation: Situation) -> float:
    """Hours that the tables take a start to be."""
    return max(situation.changeover, 0.01)


def _has_spot(situation: Situation) -> bool:
    return situation.state == "spot" and situation.spot_available.get(situation.zone or "", False)


def _lasting(situation: Situation, names: Sequence[str]) -> float:
    """Hours that tables serve a job where it is."""
    if not _has_spot(situation):
        return KEPT_HOURS if len(names) == 1 else AWAY_HOURS
    prices = situation.spot_price, situation.on_demand_price
    least = min(table[name] for table in prices for name in names if name in table)
    here = situation.spot_price.get(situation.zone or "", math.inf)
    return SETTLED_HOURS if here <= least else KEPT_HOURS


def _worth_a_look(situation: Situation, home: str | None) -> list[str]:
    """The zones that are weighed: the cheapest, where the job and its checkpoint are, and the way out, by name."""
    hours = situation.remaining_work / 2  # a stay, as opposed to the move to it
    prices = {zone: price for zone, price in situation.spot_price.items() if zone in situation.spot_available}
    order = sorted(prices, key=lambda zone: (prices[zone] * hours + situation.migration_cost.get(zone, 0.0), zone))
    besides = (situation.zone, home, cheapest_on_demand(situation))
    sold = {zone for zone in besides if zone in prices or zone in situation.on_demand_price}
    return sorted({*order[:MOST_ZONES], *(zone for zone in sold if zone is not None)})
