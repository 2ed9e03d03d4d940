"""Lower bounds by passing messages over the DAG, and plans read off them.

Finish times are priced instead of being tracked: an hour on each link costs what :class:`Prices` says, so that
what remains is a sum over tasks and links. Sequential tree-reweighted message passing (Kolmogorov 2006) raises a
lower bound on that sum pass by pass. For cost alone there is nothing to price, the bound is one on the cost
itself, and on chains one pass over the tasks and back makes it exact: the min-plus product over places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sky_core.optimizer.effort import now
from sky_core.optimizer.goal import above
from sky_core.optimizer.problem import Floats
from sky_core.optimizer.space import Space, nearest

PASSES = 200
STALLED = 8  # passes without progress before giving up on closing the gap


@dataclass(frozen=True)
class Prices:
    """What a Lagrangian relaxation of finish times charges. All figures are in units of the objective.

    Attributes:
        cost: Per USD.
        link: (E,) per hour of finish time of the link's parent that the child has to wait for.
        last: (N,) per hour of finish time of each task as part of the makespan.
        constant: Added to the sum: minus the price of the deadline times the deadline, and likewise the budget.
    """

    cost: float
    link: Floats
    last: Floats
    constant: float = 0.0

    @classmethod
    def of_cost(cls, space: Space) -> Prices:
        """Cost as it is, time for nothing."""
        return cls(1.0, np.zeros(len(space.links)), np.zeros(len(space.tasks)))

    def run(self, space: Space) -> Floats:
        """(N,) per hour of run time of each task: all that waits for its finish."""
        waiting = self.last.copy()
        for k, link in enumerate(space.links):
            waiting[link.parent] += self.link[k]
        return waiting


@dataclass
class Bound:
    """A lower bound on priced plans that can be asked about every unfinished plan.

    Attributes:
        prices: What it is about.
        back: Per link (P,): a bound on what the rest after the link costs, by the parent's place ...
        rest: (N + 1,) ... on top of this for the tasks from a position on.
        ahead: Per link (P,), by the child's place: what later passes start from.
        picks: The best plan read off the messages, as positions among the candidates.
        value: What that plan costs at these prices, ``prices.constant`` included.
    """

    prices: Prices
    back: list[Floats]
    rest: Floats
    ahead: list[Floats]
    picks: list[int]
    value: float

    @property
    def places(self) -> int:
        """The number of places it speaks of; 0 without links."""
        return len(self.back[0]) if self.back else 0

    @property
    def floor(self) -> float:
        """No plan costs less at these prices."""
        return float(self.rest[0]) + self.prices.constant

    @property
    def closed(self) -> bool:
        """True if ``picks`` is proven best at these prices, to nine digits."""
        return self.value <= above(self.floor)


class Passes:
    """The message passing itself, over unary costs by place and pairwise costs by link."""

    def __init__(self, space: Space, prices: Prices, start: tuple[list[Floats], list[Floats]] | None) -> None:
        self.space = space
        run = prices.run(space)
        self.candidate = [prices.cost * space.cost[v] + run[v] * space.hours[v] for v in range(len(space.tasks))]
        self.unary = [np.full(space.places, np.inf) for _ in space.tasks]
        for v, values in enumerate(self.candidate):
            np.minimum.at(self.unary[v], space.at[v], values)
        self.pair = _pairs(space, prices)
        nothing = [np.zeros(space.places) for _ in space.links]
        ahead, back = start or (nothing, nothing)
        self.ahead, self.back = list(ahead), list(back)
        degree = zip(space.into, space.out, strict=True)
        self.share = [1.0 / max(1, len(into), len(out)) for into, out in degree]

    def forward(self) -> tuple[list[int], float]:
        """Send messages to children; on the way read off a plan, and return it with its value."""
        space, value = self.space, 0.0
        places: list[int] = []
        for v in range(len(space.tasks)):
            ahead_of = self.unary[v].copy()
            for k in space.out[v]:
                ahead_of += self.back[k]
            belief, seen = ahead_of.copy(), ahead_of
            for k in space.into[v]:
                belief += self.ahead[k]
                units, pair = self.pair[k]
                seen = seen + units * pair[places[space.links[k].parent]]
            place = int(np.argmin(seen))
            places.append(place)
            value += self.unary[v][place]
            for k in space.into[v]:
                units, pair = self.pair[k]
                value += units * pair[places[space.links[k].parent], place]
            belief *= self.share[v]
            for k in space.out[v]:
                units, pair = self.pair[k]
                self.ahead[k] = nearest(units, pair.T, belief - self.back[k])
        return places, float(value)

    def backward(self) -> Floats:
        """Send messages to parents; return the bound on the cost of all tasks from each position on."""
        space = self.space
        rest = np.zeros(len(space.tasks) + 1)
        for v in reversed(range(len(space.tasks))):
            belief = self.unary[v].copy()
            for k in space.out[v]:
                belief += self.back[k]
            for k in space.into[v]:
                belief += self.ahead[k]
            kept = 1.0 - self.share[v] * len(space.into[v])
            rest[v] = rest[v + 1] + (kept * np.min(belief) if kept > 1e-12 else 0.0)
            belief *= self.share[v]
            for k in space.into[v]:
                units, pair = self.pair[k]
                message = nearest(units, pair, belief - self.ahead[k])
                least = np.min(message)
                self.back[k] = message - least
                rest[v] += least
        return rest

    def picks(self, places: list[int]) -> list[int]:
        """The best candidate of each task at its place."""
        at = self.space.at
        return [
            int(np.argmin(np.where(at[v] == place, values, np.inf)))
            for (v, place), values in zip(enumerate(places), self.candidate, strict=True)
        ]


def _pairs(space: Space, prices: Prices) -> list[tuple[float, Floats]]:
    """Per link a factor and a (P, P) matrix, whose product is what its two ends cost together at these prices.

    Links share what differs in the factor alone: a matrix of its own for each of thousands would not fit.
    """
    mixed: dict[tuple[int, int, float], Floats] = {}
    pairs: list[tuple[float, Floats]] = []
    for link, hour in zip(space.links, prices.link.tolist(), strict=True):
        if prices.cost == 0:
            pairs.append((hour * link.units, link.hours))
        elif hour == 0:
            pairs.append((prices.cost * link.units, link.cost))
        else:
            key = id(link.cost), id(link.hours), hour
            if key not in mixed:
                mixed[key] = prices.cost * link.cost + hour * link.hours
            pairs.append((link.units, mixed[key]))
    return pairs


def bound(space: Space, prices: Prices, *, warm: Bound | None = None, until: float = np.inf) -> Bound:
    """Pass messages until the bound meets the plan, stalls, or the clock reaches ``until`` (CPU seconds)."""
    passes = Passes(space, prices, (warm.ahead, warm.back) if warm else None)
    best: tuple[float, list[int]] = (np.inf, [])
    highest, rest, stalled = -np.inf, np.zeros(len(space.tasks) + 1), 0
    kept = (passes.back, passes.ahead)
    for _ in range(PASSES):
        places, value = passes.forward()
        if value < best[0]:
            best, stalled = (value, places), 0
        lower = passes.backward()
        gain = lower[0] - highest
        if gain > 0:
            highest, rest, kept = lower[0], lower, (list(passes.back), list(passes.ahead))
        gap = best[0] - highest
        stalled = 0 if gain > 0.01 * gap else stalled + 1
        if best[0] <= above(highest) or stalled >= STALLED or now() > until:
            break
    places, value = passes.forward()
    if value < best[0]:
        best = (value, places)
    return Bound(prices, kept[0], rest, kept[1], passes.picks(best[1]), best[0] + prices.constant)
