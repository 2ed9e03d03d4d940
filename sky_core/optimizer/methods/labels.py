"""Exact placement by labels: unfinished plans grown task by task, cut by bounds and by dominance.

A label says which candidates were chosen so far, what they cost, and when the tasks finish that others still
wait for. Of two labels with these tasks at the same places, one that costs less and finishes each of them (and
all that is behind it) no later makes the other pointless. A label also goes when a :class:`Bound` shows that no
way to finish it beats the best plan known. What is kept is cut off at a width: the least bound that was dropped
is then a bound on everything unseen, so every search ends with a plan and a proof of how good it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sky_core.optimizer.effort import now
from sky_core.optimizer.goal import TINY, Goal, above
from sky_core.optimizer.methods.messages import Bound
from sky_core.optimizer.problem import Floats, Ints
from sky_core.optimizer.space import Space

RIVALS = 12  # labels that each label is compared with, from the best of its group on and right before it
SPARE = 4  # bounds are computed for all extensions, dominance for at most this many times the width


@dataclass(frozen=True)
class Question:
    """What a search is about.

    Attributes:
        bounds: Bounds on the goal's objective.
        spending: A bound on the cost, needed for a budget.
        tails: Per task and candidate, the least time from its finish to the end of the DAG.
    """

    goal: Goal
    bounds: Sequence[Bound]
    tails: Sequence[Floats]
    spending: Bound | None = None


@dataclass(frozen=True)
class Found:
    """The best plan of a search (None if there is none below the cutoff) and the least bound of what it dropped."""

    picks: list[int] | None
    value: float
    dropped: float


@dataclass
class Labels:
    """n labels as columns.

    Attributes:
        cost: USD so far.
        last: The last finish among tasks without children.
        reach: When the DAG ends at the earliest, seen from each finish so far.
        finish, pick: Finish time and candidate of each task that others still wait for.
    """

    cost: Floats
    last: Floats
    reach: Floats
    finish: dict[int, Floats]
    pick: dict[int, Ints]

    def take(self, rows: Ints) -> Labels:
        return Labels(
            self.cost[rows],
            self.last[rows],
            self.reach[rows],
            {v: values[rows] for v, values in self.finish.items()},
            {v: values[rows] for v, values in self.pick.items()},
        )

    def without(self, tasks: list[int]) -> Labels:
        finish = {v: values for v, values in self.finish.items() if v not in tasks}
        return replace(self, finish=finish, pick={v: self.pick[v] for v in finish})


def search(space: Space, question: Question, *, cutoff: float, width: int, until: float) -> Found | None:
    """The best plan whose objective is at most ``cutoff``, or None when the clock reaches ``until`` before the end.

    Of plans that are equally good the one with the least makespan is returned.
    """
    labels = Labels(np.zeros(1), np.zeros(1), np.zeros(1), {}, {})
    steps: list[tuple[Ints, Ints]] = []
    dropped = math.inf
    for v in range(len(space.tasks)):
        if now() > until:
            return None
        labels, bound, rows, picks, lost = _extend(space, question, labels, v, cutoff, width)
        keep = _rivals(space, labels, bound)
        if len(keep) > width:
            order = np.argsort(bound[keep], kind="stable")
            lost = min(lost, float(bound[keep[order[width]]]))
            keep = keep[np.sort(order[:width])]
        dropped = min(dropped, lost)
        labels = labels.take(keep)
        steps.append((rows[keep], picks[keep]))
        if len(keep) == 0:
            return Found(None, math.inf, dropped)
    value = question.goal.weights.cost * labels.cost + question.goal.weights.time * labels.last
    best = float(np.min(value))
    ties = np.flatnonzero(value <= above(best))
    return Found(_trace(steps, int(ties[np.argmin(labels.last[ties])])), best, dropped)


def _trace(steps: list[tuple[Ints, Ints]], row: int) -> list[int]:
    picks: list[int] = []
    for rows, chosen in reversed(steps):
        picks.append(int(chosen[row]))
        row = int(rows[row])
    return picks[::-1]


def _extend(
    space: Space, question: Question, labels: Labels, v: int, cutoff: float, width: int
) -> tuple[Labels, Floats, Ints, Ints, float]:
    """Every label with every candidate of task v, as far as bounds allow.

    Returns the new labels, their bounds, the row each grew from, its candidate, and the least bound dropped.
    """
    cost, finish = _arrive(space, labels, v)
    end = finish + question.tails[v]
    reach = np.maximum(labels.reach[:, None], end)
    grown = labels.without([u for u in labels.finish if space.closes[u] <= v])

    def floor(known: Bound) -> Floats:
        return _floor(space, grown, known, v, cost, finish, reach)

    bound = question.goal.weights.cost * cost + question.goal.weights.time * reach
    for known in question.bounds:
        np.maximum(bound, floor(known), out=bound)
    fits = (bound <= cutoff) & (end <= question.goal.deadline_hours)
    if question.spending is not None:
        fits &= floor(question.spending) <= question.goal.budget_usd
    rows, picks = np.nonzero(fits)
    rows, picks, bound, lost = _least(rows, picks, bound[fits], SPARE * width)
    grown = grown.take(rows)
    grown.cost, grown.reach = cost[rows, picks], reach[rows, picks]
    if space.out[v]:
        grown.finish[v], grown.pick[v] = finish[rows, picks], picks
    else:
        grown.last = np.maximum(grown.last, finish[rows, picks])
    return grown, bound, rows, picks, lost


def _least(rows: Ints, picks: Ints, bound: Floats, count: int) -> tuple[Ints, Ints, Floats, float]:
    """The extensions with the least bounds, and the least bound among the others."""
    if len(bound) <= count:
        return rows, picks, bound, math.inf
    order = np.argpartition(bound, count)
    kept = np.sort(order[:count])
    return rows[kept], picks[kept], bound[kept], float(bound[order[count]])


def _arrive(space: Space, labels: Labels, v: int) -> tuple[Floats, Floats]:
    """(n, c) cost so far and finish time of task v, for every label and candidate."""
    cost = labels.cost[:, None] + space.cost[v]
    start = np.zeros(cost.shape)
    for link in (space.links[k] for k in space.into[v]):
        u = link.parent
        grid = np.ix_(space.at[u], space.at[v])
        cost += (link.units * link.cost[grid])[labels.pick[u]]
        np.maximum(start, labels.finish[u][:, None] + (link.units * link.hours[grid])[labels.pick[u]], out=start)
    return cost, start + space.hours[v]


def _floor(
    space: Space,
    labels: Labels,
    known: Bound,
    v: int,
    cost: Floats,
    finish: Floats,
    reach: Floats,
) -> Floats:
    """(n, c) a lower bound on what ``known`` is about, for all plans that grow from these labels."""
    prices = known.prices
    fixed = np.full(len(labels.cost), known.rest[v + 1] + prices.constant)
    for u in labels.finish:
        for k in space.out[u]:
            if space.links[k].child > v:
                fixed += prices.link[k] * labels.finish[u] + known.back[k][space.at[u][labels.pick[u]]]
    by_candidate = np.zeros(len(space.at[v]))
    for k in space.out[v]:
        by_candidate += known.back[k][space.at[v]]
    floor: Floats = prices.cost * cost + fixed[:, None] + by_candidate
    waiting = float(np.sum(prices.link[space.out[v]]))
    if waiting:
        floor += waiting * finish
    ended = float(np.sum(prices.last[: v + 1]))
    if ended:
        floor += ended * reach
    return floor


def _rivals(space: Space, labels: Labels, bound: Floats) -> Ints:
    """The rows that no rival among the labels with open tasks at the same places makes pointless."""
    if len(bound) < 2:
        return np.arange(len(bound))
    group = np.zeros(len(bound), dtype=np.int64)
    for v, pick in labels.pick.items():
        _, group = np.unique(group * space.places + space.at[v][pick], return_inverse=True)
    order = np.lexsort((bound, group))
    figures = [values[order] for values in (labels.cost, labels.last, *labels.finish.values())]
    group = group[order]
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    first = np.repeat(starts, np.diff(np.concatenate([starts, [len(group)]])))
    rank = np.arange(len(group)) - first
    alive = np.ones(len(group), dtype=bool)
    for step in range(min(RIVALS, int(rank.max(initial=0)))):
        rows = np.flatnonzero(alive & (rank > step))
        alive[_beaten(figures, first[rows] + step, rows)] = False
    for step in range(1, min(RIVALS, int(rank.max(initial=0)) + 1)):
        rows = np.flatnonzero(alive & (rank >= step))
        alive[_beaten(figures, rows - step, rows)] = False
    return order[alive]


def _beaten(figures: list[Floats], rivals: Ints, rows: Ints) -> Ints:
    """Those of ``rows`` that are nowhere better than their rival."""
    for values in figures:
        beaten = values[rivals] <= values[rows] + TINY
        rivals, rows = rivals[beaten], rows[beaten]
    return rows
