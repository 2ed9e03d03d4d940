"""What is left of a problem once nothing can be told apart that need not be: the form that the methods work on.

Three reductions, all exact. Locations that no edge tells apart become one *place*. Of a task's candidates at one
place only those stay that no other matches in every number that matters (cost, hours, or both). Under a
deadline, candidates go that could not keep it even if everything around them were as fast as it can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sky_core.optimizer.problem import Floats, Ints, Problem

NEXT_TO_NOTHING = 1e-18  # units of a link below which it counts as free: far less than a figure's last digit


@dataclass(frozen=True)
class Link:
    """An edge over places: ``cost`` (P, P) USD and ``hours`` (P, P) for each of its ``units``.

    Parent and child are positions of tasks. Links share their matrices where the edges do.
    """

    parent: int
    child: int
    cost: Floats
    hours: Floats
    units: float


@dataclass(frozen=True)
class Space:
    """A reduced problem, tasks numbered in processing order.

    Attributes:
        tasks: Names, parents before children.
        index: Per task (c,) the candidates left, as indices into the problem's.
        cost: Per task (c,) USD; zeros where cost does not matter.
        hours: Per task (c,) hours; zeros where time does not matter.
        at: Per task (c,) the place of each candidate, ascending.
        links: The edges.
        places: Their number P.
    """

    tasks: list[str]
    index: list[Ints]
    cost: list[Floats]
    hours: list[Floats]
    at: list[Ints]
    links: list[Link]
    places: int

    @cached_property
    def into(self) -> list[list[int]]:
        """Per task the numbers of the links that end there."""
        return self._links_by([link.child for link in self.links])

    @cached_property
    def out(self) -> list[list[int]]:
        """Per task the numbers of the links that start there."""
        return self._links_by([link.parent for link in self.links])

    @cached_property
    def closes(self) -> list[int]:
        """Per task the position of its last child, -1 if it has none."""
        return [max((self.links[k].child for k in numbers), default=-1) for numbers in self.out]

    def _links_by(self, tasks: list[int]) -> list[list[int]]:
        numbers: list[list[int]] = [[] for _ in self.tasks]
        for k, v in enumerate(tasks):
            numbers[v].append(k)
        return numbers

    def choice(self, picks: list[int]) -> dict[str, int]:
        """Positions among the candidates left, turned into the problem's own indices."""
        return {task: int(self.index[v][picks[v]]) for v, task in enumerate(self.tasks)}

    def picks(self, choice: Mapping[str, int]) -> list[int] | None:
        """The way back; None if the reduction took one of the candidates away."""
        found = [np.flatnonzero(index == choice[task]) for task, index in zip(self.tasks, self.index, strict=True)]
        return [int(position[0]) for position in found] if all(len(position) for position in found) else None


def prepare(
    problem: Problem, allowed: Mapping[str, Ints], *, priced: bool, timed: bool, tags: Mapping[str, Ints] | None = None
) -> Space:
    """Reduce a problem to what cost (if ``priced``) and hours (if ``timed``) can tell apart.

    ``tags``: task to a number per allowed candidate; candidates with different numbers never replace each other.
    """
    place, first = _places(problem, priced, timed)
    position = {task: v for v, task in enumerate(problem.order)}
    index: list[Ints] = []
    cost: list[Floats] = []
    hours: list[Floats] = []
    at: list[Ints] = []
    for task in problem.order:
        kept = allowed[task]
        usd = problem.cost[task][kept] if priced else np.zeros(len(kept))
        run = problem.hours[task][kept] if timed else np.zeros(len(kept))
        there = place[problem.location[task][kept]]
        tag = tags[task] if tags and task in tags else np.zeros(len(kept), dtype=np.int64)
        best = _undominated(there, tag, usd, run)
        index.append(kept[best])
        cost.append(usd[best])
        hours.append(run[best])
        at.append(there[best])
    nothing = np.zeros((len(first), len(first)))
    as_they_are = np.array_equal(first, np.arange(problem.locations))
    reduced: dict[int, Floats] = {}

    def between_places(matrix: Floats) -> Floats:
        if id(matrix) not in reduced:
            reduced[id(matrix)] = matrix if as_they_are else matrix[np.ix_(first, first)]
        return reduced[id(matrix)]

    links = [
        Link(
            position[edge.parent],
            position[edge.child],
            between_places(edge.cost) if priced else nothing,
            between_places(edge.hours) if timed else nothing,
            edge.units,
        )
        for edge in problem.edges
    ]
    return Space(problem.order, index, cost, hours, at, links, len(first))


def _places(problem: Problem, priced: bool, timed: bool) -> tuple[Ints, Ints]:
    """The place of each location, and one location of each place."""
    groups = np.zeros(problem.locations, dtype=np.int64)
    if priced:
        groups = groups + problem.cost_places
    if timed:
        groups = groups * problem.locations + problem.time_places
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    return place.reshape(-1), first


def _undominated(at: Ints, tag: Ints, cost: Floats, hours: Floats) -> Ints:
    """Per place and tag the candidates that no other beats or equals in both cost and hours, by place, then cost."""
    order = np.lexsort((hours, cost, tag, at))
    group = np.cumsum(np.concatenate([[0], (np.diff(at[order]) != 0) | (np.diff(tag[order]) != 0)]))
    rank = np.unique(hours[order], return_inverse=True)[1].reshape(-1)
    falling = rank - group * (len(at) + 1)  # later groups start below all earlier ones
    best_before = np.minimum.accumulate(np.concatenate([[len(at) + 1], falling[:-1]]))
    undominated: Ints = order[falling < best_before]
    return undominated


def ends(space: Space) -> tuple[list[Floats], list[Floats]]:
    """Per task and candidate: the earliest finish, and the least time from its finish to the end of the DAG.

    Each is a bound over everything else: parents (children) take whatever is fastest for this candidate.
    """
    heads: list[Floats] = []
    for v, hours in enumerate(space.hours):
        start = np.zeros(space.places)
        for link in (space.links[k] for k in space.into[v]):
            parent = _by_place(heads[link.parent], space.at[link.parent], space.places)
            start = np.maximum(start, nearest(link.units, link.hours.T, parent))
        heads.append(start[space.at[v]] + hours)
    tails: list[Floats] = [np.empty(0)] * len(space.tasks)
    for v in reversed(range(len(space.tasks))):
        rest = np.zeros(space.places)
        for link in (space.links[k] for k in space.out[v]):
            child = _by_place(tails[link.child] + space.hours[link.child], space.at[link.child], space.places)
            rest = np.maximum(rest, nearest(link.units, link.hours, child))
        tails[v] = rest[space.at[v]]
    return heads, tails


def nearest(units: float, matrix: Floats, values: Floats) -> Floats:
    """(P,) for each row of the (P, P) matrix, the least of ``units * row + values``.

    It is the values that are scaled: one matrix serves many links, and no product of it has to be stored.
    """
    if units < NEXT_TO_NOTHING:
        return np.full(len(matrix), np.min(values))
    least: Floats = np.min(matrix + values / units, axis=1) * units
    return least


def _by_place(values: Floats, at: Ints, places: int) -> Floats:
    """(P,) the least of a task's values at each place, inf where it has none."""
    least = np.full(places, np.inf)
    np.minimum.at(least, at, values)
    return least


def within(space: Space, deadline_hours: float) -> Space | None:
    """The space without candidates that cannot keep the deadline, or None if a task has none left."""
    while True:
        heads, tails = ends(space)
        keep = [head + tail <= deadline_hours for head, tail in zip(heads, tails, strict=True)]
        if not all(np.any(mask) for mask in keep):
            return None
        if all(np.all(mask) for mask in keep):
            return space
        space = replace(
            space,
            index=[values[mask] for values, mask in zip(space.index, keep, strict=True)],
            cost=[values[mask] for values, mask in zip(space.cost, keep, strict=True)],
            hours=[values[mask] for values, mask in zip(space.hours, keep, strict=True)],
            at=[values[mask] for values, mask in zip(space.at, keep, strict=True)],
        )
