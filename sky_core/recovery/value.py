"""What it is worth to be idle, on spot or on-demand in each zone, by time left and slack.

A stochastic dynamic program over (time left, slack, zone of the checkpoint, mode, state of that zone's market), solved
backwards for one job under what is believed of its zones: slack is time left minus work left. Running keeps it, waiting
spends it by the hour, every start spends the changeover and what it takes to bring the checkpoint there.

The market of the checkpoint's zone is followed in phases. Unless every zone's state is told, only who is on spot
knows how long it has been there: who waits takes it as it comes back. Of the other zones the program knows how
probable each state is by then; whoever asks them all gets spot or knows that they are down, and then they come back
one by one. So to wait for the zone at hand, which costs no move, and to go elsewhere, at the price of the move there
and of those that may follow, are weighed against each other.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sky_core.recovery.beliefs.market_model import PHASES, chain, spells

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

STATES = 2 * PHASES  # of a market: down by phase, then up by phase
FORBIDDEN = 1e7  # USD: what the safety net will not have
SPARE = 3.0
"""Changeovers that must be left after a start on spot. The safety net asks for one. To count on more keeps the
policy from spending the slack without which it has to stay on demand when spot is back for good: the model knows
of no such turns of a market, and a job that lived through a bad one would hop its last slack away."""
SPARE_AFAR = 1.5
"""The same where a move may take longer than a changeover. Then few moves are made, so that there is less to keep."""
LATE = 3.0  # price of an hour of missing slack, in on-demand hours: the safety net never lets it come to that
SLACKS = 28  # values of slack
FINE = 8  # of them, halves of a changeover
GROWTH = 0.1  # a step that begins so many hours from now takes this share of them
LONGEST = 1.0  # hours of a step
RATIO = 1.25  # of two lengths of steps: there are few, so that what hangs on them is shared


@dataclass(frozen=True)
class Zones:
    """The zones as a job sees them; arrays are by zone (Z), or by zone from and to.

    Attributes:
        spot, on_demand: (Z,) USD per hour; infinite where there is none.
        usd, hours: (Z, Z) to bring the checkpoint from zone to zone.
        changeover: Hours of any start.
        rates: (Z, 2, PHASES) ends of a spell without and with spot per hour.
        now: (Z, STATES) how probable each state of a zone's market is.
        told: Whether who waits sees how long spot has been there.
        hour_usd: The weight of time: USD for each hour until the job's end.
    """

    spot: Floats
    on_demand: Floats
    usd: Floats
    hours: Floats
    changeover: float
    rates: Doubles
    now: Doubles
    told: bool = False
    hour_usd: float = 0.0

    @property
    def late(self) -> float:
        """USD for an hour of missing slack."""
        prices = self.on_demand[np.isfinite(self.on_demand)]
        return LATE * float(prices.min() if len(prices) else self.spot[np.isfinite(self.spot)].max())


@dataclass(frozen=True)
class Values:
    """USD to go after a decision.

    Attributes:
        ahead: (T,) hours from when they were solved for.
        slacks: (S,) hours.
        spot: (T, Z, PHASES, S) on spot in a zone.
        idle, on_demand: (T, Z, STATES, S) with the checkpoint in a zone, by the state of that zone's market.
    """

    ahead: list[float]
    slacks: list[float]
    spot: Floats
    idle: Floats
    on_demand: Floats

    def at(self, table: Floats, ahead: float, zones: NDArray[np.intp], slack: Floats) -> Floats:
        """(n, …) a table at a time, in n zones, each at its slack, by interpolation.

        Beyond the grids their ends count.
        """
        t, later = _bracket(self.ahead, ahead)
        position = np.interp(slack, self.slacks, np.arange(len(self.slacks)))
        low = np.minimum(position.astype(int), len(self.slacks) - 2)
        part = (position - low)[:, None]
        near, far = table[t : t + 2, zones, :, low], table[t : t + 2, zones, :, low + 1]  # (Z, now and later, …)
        both = near * (1 - part[:, None]) + far * part[:, None]
        return np.asarray(both[:, 0] * (1 - later) + both[:, -1] * later)


def _bracket(grid: list[float], value: float) -> tuple[int, float]:
    """The interval of the grid where a value lies, and how far into it (0 to 1)."""
    if len(grid) == 1:
        return 0, 0.0
    low = min(max(bisect_right(grid, value) - 1, 0), len(grid) - 2)
    return low, min(max((value - grid[low]) / (grid[low + 1] - grid[low]), 0.0), 1.0)


def solve(zones: Zones, time_left: float, slack: float, *, first: float, keep: float) -> Values:
    """Values for the next ``keep`` hours of a job with so much time left and at most that slack.

    Args:
        first: Hours to the next decision.
    """
    spans = _spans(time_left, first)
    begins = np.concatenate([[0.0], np.cumsum(spans)])
    turns = {span: chain(zones.rates, span) for span in set(spans)}
    markets = [zones.now]  # as each step begins
    for span in spans:
        markets.append(np.matmul(markets[-1][:, None], turns[span])[:, 0])
    recursion = _Recursion(zones, _slacks(zones.changeover, slack))
    steps = recursion.steps(turns, first)
    states = np.stack(markets).astype(np.float32)
    work = time_left - begins[:-1, None] - recursion.slacks
    paid = np.clip(work, 0.0, np.array(spans)[:, None]).astype(np.float32)
    kept = []
    for number in reversed(range(len(spans))):
        tables = recursion.back(steps[spans[number]], states[number], work[number] > 0, paid[number])
        if number == 0 or begins[number - 1] < keep:
            kept.append((float(begins[number]), *tables))
    ahead, spot, idle, on_demand = zip(*reversed(kept), strict=True)
    return Values(list(ahead), recursion.slacks.tolist(), np.stack(spot), np.stack(idle), np.stack(on_demand))


def _spans(time_left: float, first: float) -> list[float]:
    """Hours of each step, ever longer: what is far off counts as a mean."""
    spans, at = [], 0.0
    while at < time_left - 1e-6:
        wish = min(max(first, GROWTH * at), LONGEST)
        spans.append(min(float(first * RATIO ** round(math.log(wish / first, RATIO))), time_left - at))
        at += spans[-1]
    return spans


def _slacks(changeover: float, most: float) -> Floats:
    """From none to the most: finely up to four changeovers, where much is forbidden, then ever wider apart."""
    fine = changeover / 2 * np.arange(FINE + 1)
    wide = np.geomspace(fine[-1], max(most, 1.25 * fine[-1]), SLACKS - FINE)
    return np.concatenate([fine, wide[1:]])


@dataclass(frozen=True)
class _Step:
    """What is the same for all steps of some hours.

    Attributes:
        works: Hours that a job which waits for spot still runs if it comes back within the step, on average.
        turns: (Z, STATES, STATES) chances of every change of the markets.
        stays, ends: (Z, PHASES, PHASES) and (Z, PHASES, 1) of spot to stay and to end.
        returns: (Z, PHASES, 1) of spot to come back.
        comes: (Z,) of another zone to come back.
        wait, half: (S, S) slack after waiting for the whole step, or until spot comes back within it.
        sooner: (S, S) from the former to the latter.
        waiting: (S,) USD for waiting: the time itself, and more where there is none for it.
    """

    works: np.float32
    turns: Floats
    stays: Floats
    ends: Floats
    returns: Floats
    comes: Floats
    wait: Floats
    half: Floats
    sooner: Floats
    waiting: Floats


class _Recursion:
    """One step after the other, towards now; arrays are (from zone, …, slack), float32.

    Between two steps it has the values before a decision: ``spot``, and ``away`` for three modes: idle before the other
    zones were asked, idle thereafter, and on-demand. ``lost`` is the first of them as spot has just been taken.

    The arrays are small, so that what counts is how many operations there are: modes come first, which makes one
    product of matrices out of many, and what takes much room is written where the step before had it.
    """

    def __init__(self, zones: Zones, slacks: Floats) -> None:
        self.zones, self.slacks = zones, slacks
        count, size = len(zones.spot), len(slacks)
        self.has_spot = np.isfinite(zones.spot)
        self.bare = np.where(self.has_spot, zones.spot, FORBIDDEN).astype(np.float32)[:, None, None]
        self.price = self.bare + np.float32(zones.hour_usd)
        dear = np.where(np.isfinite(zones.on_demand), zones.on_demand, FORBIDDEN) + zones.hour_usd
        self.dear = dear.astype(np.float32)[:, None, None]
        self.comes = np.where(self.has_spot, 1 / spells(zones.rates)[0][:, 0], 0.0)  # per hour
        moves = np.round(zones.hours, 3)
        moves[np.diag_indices(count)] = 0.0
        starts, group = np.unique(moves, return_inverse=True)  # the first is a start where the checkpoint is
        starts += zones.changeover
        self.group, self.zone = group.reshape(count, count), np.arange(count)
        self.starts = _shifts(slacks, starts)  # (starts, S, S)
        spare = SPARE if starts[-1] <= 2 * zones.changeover + 1e-3 else SPARE_AFAR
        unsafe = slacks < starts[:, None] + spare * zones.changeover - 1e-6
        self.unsafe = np.where(unsafe, np.float32(FORBIDDEN), np.float32(0))[:, None]
        starts_here = self.has_spot[:, None, None] & ~unsafe[0] & (not zones.told)  # as soon as spot is back
        self.waits = np.where(starts_here, np.float32(FORBIDDEN), np.float32(0))
        self.missing = (np.maximum(0.0, starts[:, None] - slacks) * zones.late).astype(np.float32)[:, None]
        self.usd = np.where(np.eye(count, dtype=bool), FORBIDDEN, zones.usd).astype(np.float32)[..., None]
        self.spot = np.zeros((count, PHASES, size), dtype=np.float32)
        self.away = np.zeros((3, count, STATES, size), dtype=np.float32)
        self.lost, self.young, self.saves = self.spot[:, 0], self.spot[:, 0], np.zeros_like(self.spot[:, 0])
        self.gain = np.empty((count, count, PHASES + 2 * STATES, size), dtype=np.float32)
        self.best = np.empty((count, count, STATES, size), dtype=np.float32)

    def steps(self, turns: Mapping[float, Doubles], first: float) -> dict[float, _Step]:
        """What is the same for all steps of so many hours, where decisions are ``first`` hours apart."""
        spans = np.array(list(turns))
        works = (spans - first) / 2
        waits, halves, sooner = _shifts(self.slacks, np.stack([spans, spans - works, -works]))
        steps = {}
        for number, (span, turn) in enumerate(turns.items()):
            comes = -np.expm1(-self.comes * span)
            comes *= -math.expm1(-comes.sum()) / max(comes.sum(), 1e-9)  # of several only one is taken
            short = np.clip(self.zones.changeover + span - self.slacks, 0.0, span)
            waiting = short * self.zones.late + span * self.zones.hour_usd
            chances = turn.astype(np.float32)
            steps[span] = _Step(
                np.float32(works[number]), chances, chances[:, PHASES:, PHASES:].copy(),
                chances[:, PHASES:, :1].copy(), chances[:, :PHASES, PHASES : PHASES + 1].copy(),
                comes.astype(np.float32), waits[number], halves[number], sooner[number], waiting.astype(np.float32),
            )  # fmt: skip
        return steps

    def back(
        self, step: _Step, markets: Floats, going: NDArray[np.bool_], paid: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Back by a step, at whose beginning the markets are in these states.

        Args:
            going: (S,) whether there is work left by then.
            paid: (S,) hours of the step until the work is done.

        Returns:
            The values after a decision: spot, idle, on-demand.
        """
        self._relieve(step)
        soon = np.minimum(paid, step.works)
        spot = np.matmul(step.stays, self.spot)
        spot += step.ends * self.lost[:, None]
        spot += self.price * paid
        comes = step.returns * self.away[:2, :, PHASES : PHASES + 1]  # (2, Z, PHASES, S) down, and back within the step
        away = np.matmul(step.turns, self.away)
        away[:2, :, :PHASES] -= comes
        comes = _times(comes, step.half)
        comes += step.returns * (self.bare * soon)  # its time counts as waiting's
        away[:2] = _times(away[:2], step.wait)
        away[:2] += step.waiting
        away[:2, :, :PHASES] += comes
        away[2] += self.dear * paid
        away[2, :, :PHASES] -= step.returns * (self.saves * soon)[:, None]
        if not going.all():
            spot *= going
            away *= going
        idle = away[0].copy()
        self._decide(spot, away, markets)
        return spot, idle, away[2]

    def _relieve(self, step: _Step) -> None:
        """Take from spot and the modes what is gained if a better zone that was down comes back meanwhile."""
        if len(self.zone) == 1:
            return
        better = self._begin(self.young, self.unsafe)
        sooner = _times(better, step.sooner) + self.bare[:, 0] * step.works  # who waits takes it when it comes
        _, tried, on_demand = self.away
        gain, size = self.gain, self.gain.shape
        np.subtract(self.spot[:, None], better[:, :, None], out=gain[:, :, :PHASES])
        np.subtract(tried[:, None], sooner[:, :, None], out=gain[:, :, PHASES : PHASES + STATES])
        np.subtract(on_demand[:, None], better[:, :, None], out=gain[:, :, PHASES + STATES :])
        np.maximum(gain, np.float32(0), out=gain)
        gained = np.matmul(step.comes, gain.reshape(size[0], size[1], -1)).reshape(size[0], size[2], size[3])
        self.spot = self.spot - gained[:, :PHASES]
        tried -= gained[:, PHASES : PHASES + STATES]
        on_demand -= gained[:, PHASES + STATES :]

    def _decide(self, spot: Floats, away: Floats, states: Floats) -> None:
        """From the values after a decision to those before it."""
        fresh, tried, on_demand = away
        first, otherwise, paying = self.away
        again = _times(spot, self.starts[0]) + self.unsafe[0]
        pay = _times(on_demand, self.starts[0]) + self.missing[0]
        if len(self.zone) > 1:
            typical = np.matmul(states[:, None], on_demand)[:, 0]
            np.minimum(pay, self._begin(typical, self.missing).min(axis=1)[:, None], out=pay)
        away[:2, :, PHASES:] += self.waits
        np.minimum(tried, pay, out=otherwise)
        np.minimum(otherwise[:, PHASES:], again, out=otherwise[:, PHASES:])
        np.minimum(np.minimum(fresh, pay), self._ask(spot, states[:, PHASES:], otherwise), out=first)
        np.minimum(first[:, PHASES:], again, out=first[:, PHASES:])
        np.minimum(on_demand, otherwise, out=paying)
        self.spot = np.minimum(spot, otherwise[:, PHASES:])
        self.lost, self.young = first[:, 0], spot[:, 0]
        self.saves = np.where(again[:, 0] < on_demand[:, PHASES], self.dear[:, 0] - self.price[:, 0], np.float32(0))

    def _ask(self, spot: Floats, up: Floats, otherwise: Floats) -> Floats:
        """To ask the other zones for spot, the best first and as long as it is worth it, and else do otherwise."""
        if len(self.zone) == 1:
            return otherwise
        there = up.sum(axis=1)
        found = np.matmul((up / (there[:, None] + np.float32(1e-9)))[:, None], spot)[:, 0]
        begin = self._begin(found, self.unsafe)
        order = np.argsort(begin[:, :, -SLACKS // 3], axis=1)  # it hardly hangs on the slack
        begin, there = begin[self.zone[:, None], order], (there * self.has_spot)[order]
        refused = np.cumprod(1 - there, axis=1)
        got = there
        got[:, 1:] *= refused[:, :-1]
        best = np.minimum(begin[:, :, None], otherwise[:, None], out=self.best)
        size = best.shape
        asked = np.matmul(got[:, None], best.reshape(size[0], size[1], -1)).reshape(otherwise.shape)
        return np.asarray(asked + refused[:, -1:, None] * otherwise)

    def _begin(self, table: Floats, besides: Floats) -> Floats:
        """(Z, S) to (Z, Z, S): a start in each other zone, from each."""
        each = np.matmul(table, self.starts) + besides
        return np.asarray(each[self.group, self.zone] + self.usd)


def _times(table: Floats, matrix: Floats) -> Floats:
    """(…, S) by (S, S), as one product."""
    return np.asarray((table.reshape(-1, table.shape[-1]) @ matrix).reshape(table.shape))


def _shifts(slacks: Floats, hours: Floats) -> Floats:
    """(…, S, S) each takes (…, S) values to those at a slack that is less by so many hours, within the grid."""
    size = len(slacks)
    less = np.clip(slacks - hours[..., None], 0.0, slacks[-1])
    low = np.clip(np.searchsorted(slacks, less, side="right") - 1, 0, size - 2)
    part = (less - slacks[low]) / (slacks[low + 1] - slacks[low])
    rows = np.arange(size)[:, None]
    return np.where(
        rows == low[..., None, :],
        1 - part[..., None, :],
        np.where(rows == low[..., None, :] + 1, part[..., None, :], 0.0),
    ).astype(np.float32)
