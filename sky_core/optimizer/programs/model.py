"""The placement problem as a compact integer program.

Formulation of the dissertation's section 4.1.3 (UCB/EECS-2024-48), linearized over places instead of candidates.
``x`` is one-hot per task over its candidates. A link pairs the places of its two ends by ``y >= 0`` whose sums
are the ends' ``x`` (the tight linearization: ``y`` needs no integrality). Where places nest (zones in a region,
regions in a cloud) only the outermost level is paired; each level inside it has one column per place for what
staying together there saves, so that a link takes tens of columns instead of the square of the places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sky_core.optimizer.effort import Effort, now
from sky_core.optimizer.goal import Goal
from sky_core.optimizer.problem import Bools, Floats, Ints
from sky_core.optimizer.space import Link, Space

Number = TypeVar("Number", np.float64, np.int64)


@dataclass
class Model:
    """A mixed integer program under construction: minimize ``objective @ columns`` within row and column bounds.

    Rows are kept in compressed form: row r holds ``index[starts[r]:starts[r + 1]]``.
    """

    objective: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    integer: list[Bools] = field(default_factory=list)
    columns: int = 0
    starts: list[int] = field(default_factory=lambda: [0])
    index: list[Ints] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)
    lower_row: list[float] = field(default_factory=list)
    upper_row: list[float] = field(default_factory=list)

    def add_columns(self, objective: Floats, upper: float, *, integer: bool = False) -> Ints:
        """Append columns within [0, upper]; their indices."""
        count = len(objective)
        self.objective.append(np.asarray(objective, dtype=np.float64))
        self.upper.append(np.full(count, upper))
        self.integer.append(np.full(count, integer))
        self.columns += count
        return np.arange(self.columns - count, self.columns)

    def add_row(self, parts: Sequence[tuple[Ints, Floats | float]], lower: float, upper: float) -> int:
        """Append ``lower <= sum of values @ columns[index] over the parts <= upper``; its number."""
        for index, value in parts:
            self.index.append(index)
            self.value.append(np.broadcast_to(np.asarray(value, dtype=np.float64), index.shape))
        self.starts.append(self.starts[-1] + sum(len(index) for index, _ in parts))
        self.lower_row.append(lower)
        self.upper_row.append(upper)
        return len(self.lower_row) - 1


@dataclass(frozen=True)
class Answer:
    """What a solver found: column values (None if nothing), a proven bound, and whether there is no plan at all."""

    values: Floats | None
    bound: float
    infeasible: bool


Known = tuple[Ints, Floats]  # some columns and their values in a known solution
Solver = Callable[[Model, Effort, Known | None], Answer]


@dataclass
class Placement:
    """The columns and rows of a placement problem in its model.

    Attributes:
        x: Per task the columns of its candidates.
        spent: Columns and values that add up to the cost.
        makespan: Its column, or None if time does not matter.
        wait: Per link the row "the child finishes after the parent, the transfer and its own run".
        last: Per task the row "the makespan is no earlier than its finish".
        budget: Row of the budget, or None.
    """

    model: Model
    x: list[Ints]
    spent: list[tuple[Ints, Floats]]
    makespan: int | None = None
    wait: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    budget: int | None = None


@dataclass(frozen=True)
class Level:
    """One level of nested places: (p,) the group each place belongs to, and a first and other member per group."""

    group: Ints
    first: Ints
    other: Ints


def build(space: Space, goal: Goal, until: float = math.inf) -> Placement | None:
    """The model of a space, without the goal's limits on counts; finish times only if they matter.

    None when the clock (CPU seconds) reaches ``until`` before the end: links of hundreds of tasks take seconds.
    """
    model = Model()
    placement = Placement(model, [], [])
    for cost in space.cost:
        x = model.add_columns(goal.weights.cost * cost, 1.0, integer=True)
        model.add_row([(x, 1.0)], 1.0, 1.0)
        placement.x.append(x)
        placement.spent.append((x, cost))
    levels = nests(space)
    hops: list[tuple[Ints, Floats]] = []
    for link in space.links:
        if now() > until:
            return None
        hops.append(_pair(placement, space, link, levels, goal.weights.cost))
    if goal.timed:
        if levels:
            _add_sides(placement, space, levels)
        _add_finish_times(placement, space, hops, goal.weights.time, goal.deadline_hours)
    if math.isfinite(goal.budget_usd):
        placement.budget = model.add_row(placement.spent, -math.inf, goal.budget_usd)
    return placement


def _add_sides(placement: Placement, space: Space, levels: list[Level]) -> None:
    """A column per task and outermost place: a branch on one cloud of three tells more than one on a zone of many."""
    group = np.arange(space.places)
    for level in levels:
        group = level.group[group]
    for x, at in zip(placement.x, space.at, strict=True):
        there = group[at]
        for outermost in np.unique(there):
            side = placement.model.add_columns(np.zeros(1), 1.0, integer=True)
            placement.model.add_row([(x[there == outermost], 1.0), (side, -1.0)], 0.0, 0.0)


def _add_finish_times(
    placement: Placement,
    space: Space,
    hops: list[tuple[Ints, Floats]],
    weight: float,
    deadline_hours: float,
) -> None:
    model = placement.model
    makespan = model.add_columns(np.array([weight]), deadline_hours)
    finish = model.add_columns(np.zeros(len(space.tasks)), math.inf)
    placement.makespan = int(makespan[0])
    for v, hours in enumerate(space.hours):
        end = finish[v : v + 1]
        if not space.into[v]:
            model.add_row([(end, 1.0), (placement.x[v], -hours)], 0.0, math.inf)
        placement.last.append(model.add_row([(makespan, 1.0), (end, -1.0)], 0.0, math.inf))
    for link, (columns, hours) in zip(space.links, hops, strict=True):
        v = link.child
        ends = [(finish[v : v + 1], 1.0), (finish[link.parent : link.parent + 1], -1.0)]
        run = [(placement.x[v], -space.hours[v]), (columns, -hours)]
        placement.wait.append(model.add_row([*ends, *run], 0.0, math.inf))


def nests(space: Space) -> list[Level]:
    """How places nest, innermost first: twins are told apart only by which of them one is at oneself.

    Twins a, b: every link costs the same from (to) a as from (to) b for all other places, the same between a and
    b both ways, and no less than staying at one of them.
    """
    cells = np.zeros((space.places, space.places), dtype=np.int64)
    by_id = {id(link.cost): link.cost for link in space.links if link.units}
    by_id |= {id(link.hours): link.hours for link in space.links if link.units}
    matrices = list(by_id.values())
    for matrix in matrices:
        _, known = np.unique(cells, return_index=True)
        if not np.array_equal(matrix.ravel()[known][cells], matrix):
            values = np.unique(matrix, return_inverse=True)[1].reshape(cells.shape)
            cells = np.unique(cells * matrix.size + values, return_inverse=True)[1].reshape(cells.shape)
    levels: list[Level] = []
    while True:
        level = _twins(cells, _stays(matrices, len(cells)))
        if len(level.first) == len(cells):
            return levels
        levels.append(level)
        cells = contract(cells, level)
        matrices = [contract(matrix, level) for matrix in matrices]


def _stays(matrices: list[Floats], size: int) -> Bools:
    """Between which two places nothing is cheaper than to stay at either: inside a group, to move between members."""
    stays = np.ones((size, size), dtype=bool)
    for matrix in matrices:
        own = np.diagonal(matrix)
        stays &= (matrix >= own[:, None]) & (matrix >= own[None, :])
    return stays


def _twins(cells: Ints, stays: Bools) -> Level:
    size = len(cells)
    apart = (cells[:, None, :] != cells[None, :, :]) | (cells.T[:, None, :] != cells.T[None, :, :])
    own = np.arange(size)
    apart[own, :, own] = apart[:, own, own] = False  # what the two say of themselves does not count
    twins = ~apart.any(axis=2) & (cells == cells.T) & stays
    np.fill_diagonal(twins, True)
    group = np.full(size, -1)
    first: list[int] = []
    other: list[int] = []
    for place in range(size):
        if group[place] < 0:
            members = np.flatnonzero(twins[place] & (group < 0))
            group[members] = len(first)
            first.append(int(members[0]))
            other.append(int(members[-1]))
    return Level(group, np.array(first), np.array(other))


def contract(matrix: NDArray[Number], level: Level) -> NDArray[Number]:
    """The matrix between groups; inside a group, what moving between two members takes."""
    between: NDArray[Number] = matrix[np.ix_(level.first, level.first)]
    np.fill_diagonal(between, matrix[level.first, level.other])
    return between


def _pair(placement: Placement, space: Space, link: Link, levels: list[Level], weight: float) -> tuple[Ints, Floats]:
    """Add the columns that tell where a link's two ends are; they and the hours that each stands for."""
    model = placement.model
    cost, hours = link.units * link.cost, link.units * link.hours
    if np.ptp(cost) == 0 and np.ptp(hours) == 0:
        one = model.add_columns(np.array([weight * cost[0, 0]]), 1.0)
        model.add_row([(one, 1.0)], 1.0, 1.0)
        placement.spent.append((one, cost[0, :1]))
        return one, hours[0, :1]
    parent_at, child_at = space.at[link.parent], space.at[link.child]
    columns: list[tuple[Ints, Floats, Floats]] = []
    inner: dict[int, list[Ints]] = {}  # the columns one level further in, by the place they lie in
    for level in levels:
        outer_cost, outer_hours = contract(cost, level), contract(hours, level)
        saved = [
            np.diagonal(outer)[level.group] - np.diagonal(m) for outer, m in ((outer_cost, cost), (outer_hours, hours))
        ]
        here: dict[int, list[Ints]] = {}
        for place in np.intersect1d(parent_at, child_at):
            inside = inner.get(int(place), [])
            if saved[0][place] > 0 or saved[1][place] > 0:
                stay = model.add_columns(np.array([-weight * saved[0][place]]), 1.0)
                for x, at in ((placement.x[link.parent], parent_at), (placement.x[link.child], child_at)):
                    model.add_row([(x[at == place], 1.0), (stay, -1.0)], 0.0, math.inf)
                if inside:
                    model.add_row([(stay, 1.0), (np.concatenate(inside), -1.0)], 0.0, math.inf)
                columns.append((stay, -saved[0][[place]], -saved[1][[place]]))
                inside = [stay]
            here.setdefault(int(level.group[place]), []).extend(inside)
        inner, cost, hours = here, outer_cost, outer_hours
        parent_at, child_at = level.group[parent_at], level.group[child_at]
    columns.append(_cross(placement, link, (parent_at, child_at), (cost, hours), inner, weight))
    index, usd, delay = (np.concatenate(part) for part in zip(*columns, strict=True))
    placement.spent.append((index, usd))
    return index, delay


def _cross(
    placement: Placement,
    link: Link,
    at: tuple[Ints, Ints],
    matrices: tuple[Floats, Floats],
    inner: dict[int, list[Ints]],
    weight: float,
) -> tuple[Ints, Floats, Floats]:
    """The columns y over pairs of outermost places."""
    model = placement.model
    grid = np.ix_(np.unique(at[0]), np.unique(at[1]))
    usd, delay = matrices[0][grid], matrices[1][grid]
    y = model.add_columns(weight * usd.ravel(), 1.0).reshape(usd.shape)
    for task, there, places, lines in (
        (link.parent, at[0], grid[0].ravel(), y),
        (link.child, at[1], grid[1].ravel(), y.T),
    ):
        for place, line in zip(places, lines, strict=True):
            model.add_row([(line, 1.0), (placement.x[task][there == place], -1.0)], 0.0, 0.0)
    for group, inside in inner.items():
        if inside:
            stay = y[np.flatnonzero(grid[0].ravel() == group)[0], np.flatnonzero(grid[1].ravel() == group)[0]]
            model.add_row([(np.array([stay]), 1.0), (np.concatenate(inside), -1.0)], 0.0, math.inf)
    return y.ravel(), usd.ravel(), delay.ravel()
