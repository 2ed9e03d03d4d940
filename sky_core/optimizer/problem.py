"""What the optimizer is asked and what it answers: numbers only, no catalog, no clouds.

A task ``v`` has ``C_v`` candidates; each has a cost, a run time and a location. Data on an edge costs money and
time by the two locations. Units: USD and hours.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Never

import numpy as np
from numpy.typing import NDArray

from sky_core.errors import SpecError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Edge:
    """Data flowing from a parent to a child; an order edge has zeros only.

    Attributes:
        cost: (L, L) USD for each unit, from the parent's location to the child's.
        hours: (L, L) transfer time of each unit.
        units: How much flows. Edges that share their matrices and differ in this take next to no memory.
    """

    parent: str
    child: str
    cost: Floats
    hours: Floats
    units: float = 1.0


@dataclass(frozen=True)
class Problem:
    """A DAG of tasks and what each costs where.

    Attributes:
        tasks: Names, each once, in any order.
        cost: (C_v,) USD of running task v on each of its candidates, egress of its external inputs included.
        hours: (C_v,) run time.
        location: (C_v,) index into the L locations (zone, region or cloud: the caller's grain).
        edges: At most one per pair of tasks.

    Raises:
        SpecError: on construction, where shapes disagree, numbers are not finite and >= 0, or there is a cycle.
    """

    tasks: Sequence[str]
    cost: Mapping[str, Floats]
    hours: Mapping[str, Floats]
    location: Mapping[str, Ints]
    edges: Sequence[Edge]

    def __post_init__(self) -> None:
        if len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            raise SpecError("Problem: tasks: at least one task, and each name once")
        for task in self.tasks:
            self._check_candidates(task)
        sound: set[int] = set()  # matrices by their identity: many edges share a few
        for edge in self.edges:
            self._check_edge(edge, sound)
        if len({(edge.parent, edge.child) for edge in self.edges}) != len(self.edges):
            raise SpecError("Problem: edges: two edges join the same pair of tasks; add their matrices up")
        self.order  # noqa: B018 - raises on a cycle

    def _check_candidates(self, task: str) -> None:
        if not (task in self.cost and task in self.hours and task in self.location):
            raise SpecError(f"Problem: {task}: cost, hours and location must all be given")
        cost, hours, location = self.cost[task], self.hours[task], self.location[task]
        if not (len(cost) == len(hours) == len(location)) or len(cost) == 0:
            raise SpecError(f"Problem: {task}: cost, hours and location need one entry per candidate, at least one")
        if not (_sound(cost) and _sound(hours)):
            raise SpecError(f"Problem: {task}: costs and hours must be finite and not negative")
        if np.min(location) < 0 or np.max(location) >= self.locations:
            raise SpecError(f"Problem: {task}: location: an index lies outside the {self.locations} locations")

    def _check_edge(self, edge: Edge, sound: set[int]) -> None:
        name = f"Problem: edge {edge.parent} -> {edge.child}"
        if edge.parent not in self.cost or edge.child not in self.cost:
            raise SpecError(f"{name}: both ends must be tasks")
        shape = (self.locations, self.locations)
        if np.shape(edge.cost) != shape or np.shape(edge.hours) != shape:
            raise SpecError(f"{name}: cost and hours must both have the shape {shape}")
        if not (math.isfinite(edge.units) and edge.units >= 0):
            raise SpecError(f"{name}: units must be finite and not negative")
        for matrix in (edge.cost, edge.hours):
            if id(matrix) not in sound and not _sound(matrix):
                raise SpecError(f"{name}: costs and hours must be finite and not negative")
            sound.add(id(matrix))

    @cached_property
    def locations(self) -> int:
        """L, the number of locations."""
        if self.edges:
            return int(np.shape(self.edges[0].cost)[0])
        return 1 + max(int(np.max(self.location[task])) for task in self.tasks)

    @cached_property
    def parents(self) -> dict[str, list[Edge]]:
        """The edges into each task."""
        into: dict[str, list[Edge]] = {task: [] for task in self.tasks}
        for edge in self.edges:
            into[edge.child].append(edge)
        return into

    @cached_property
    def order(self) -> list[str]:
        """The tasks, parents before children, in an order that keeps few finished tasks waiting for children.

        Greedy: of the tasks whose parents are all placed, the one that closes most of what is open comes next.
        """
        children: dict[str, list[str]] = {task: [] for task in self.tasks}
        for edge in self.edges:
            children[edge.parent].append(edge.child)
        waiting = {task: len(edges) for task, edges in self.parents.items()}
        unmet = {task: len(names) for task, names in children.items()}
        number = {task: position for position, task in enumerate(self.tasks)}
        heap: list[tuple[int, int, str]] = []
        order: dict[str, None] = {}

        def offer(task: str) -> None:
            closes = sum(unmet[edge.parent] == 1 for edge in self.parents[task])
            heapq.heappush(heap, (bool(children[task]) - closes, number[task], task))

        for task in self.tasks:
            if waiting[task] == 0:
                offer(task)
        while heap:
            task = heapq.heappop(heap)[2]
            if task in order:
                continue
            order[task] = None
            for child in children[task]:
                waiting[child] -= 1
                if waiting[child] == 0:
                    offer(child)
            for parent in (edge.parent for edge in self.parents[task]):
                unmet[parent] -= 1
                if unmet[parent] == 1:  # the last child now closes its parent: it moves up
                    for child in children[parent]:
                        if waiting[child] == 0 and child not in order:
                            offer(child)
        if len(order) < len(self.tasks):
            raise SpecError("Problem: edges: the tasks form a cycle")
        return list(order)

    @cached_property
    def cost_places(self) -> Ints:
        """(L,) group of each location; all edges cost the same from and to the locations of a group."""
        return _alike([edge.cost for edge in self.edges if edge.units], self.locations)

    @cached_property
    def time_places(self) -> Ints:
        """(L,) group of each location; all edges take the same time from and to the locations of a group."""
        return _alike([edge.hours for edge in self.edges if edge.units], self.locations)

    @cached_property
    def same_places(self) -> bool:
        """Whether no two locations that cost the same differ in time."""
        groups = {(int(cost), int(time)) for cost, time in zip(self.cost_places, self.time_places, strict=True)}
        return len(groups) == len(np.unique(self.cost_places))

    @cached_property
    def memory(self) -> dict[str, object]:
        """What one solve leaves for the next on the same problem; holds nothing that changes an answer."""
        return {}


def _alike(matrices: Sequence[Floats], locations: int) -> Ints:
    """Group of each location: two are alike if no matrix tells their rows or their columns apart."""
    groups = np.zeros(locations, dtype=np.int64)
    first = np.zeros(1, dtype=np.int64)
    for matrix in {id(matrix): matrix for matrix in matrices}.values():
        if np.array_equal(matrix, matrix[np.ix_(first, first)][np.ix_(groups, groups)]):
            continue
        keys = [(groups[a], matrix[a].tobytes(), matrix[:, a].tobytes()) for a in range(locations)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        groups = np.array([numbers[key] for key in keys])
        first = np.array([keys.index(key) for key in numbers])
    return groups


def _sound(values: Floats) -> bool:
    return bool(np.all(np.isfinite(values)) and np.min(values) >= 0)


@dataclass(frozen=True)
class Weighted:
    """Minimize ``cost * USD + time * hours`` of makespan."""

    cost: float = 1.0
    time: float = 1.0

    def __post_init__(self) -> None:
        if min(self.cost, self.time) < 0 or not 0 < max(self.cost, self.time) < math.inf:
            raise SpecError("Weighted: weights must be finite and not negative, and one must be positive")


Minimize = Literal["cost", "time", "cost*time"] | Weighted


@dataclass(frozen=True)
class Limit:
    """A count that several tasks share: a quota, or machines that are already paid for.

    A reserved machine is a candidate of its own with a price of zero and a limit on how many tasks take it.

    Attributes:
        name: What :class:`~sky_core.errors.Infeasible` calls it.
        count: How many there are.
        uses: Task to (C_v,) how many each of its candidates takes; tasks that are not named take none.
        at_once: True if only tasks that may run at the same time (none comes after another in the DAG) share the
            count, False if all of them do.
    """

    name: str
    count: float
    uses: Mapping[str, Floats]
    at_once: bool = True


@dataclass(frozen=True)
class Request:
    """What was asked of :func:`~sky_core.optimizer.solve.solve`, so that it can be asked again with a change."""

    minimize: Minimize = "cost"
    deadline_hours: float | None = None
    budget_usd: float | None = None
    fixed: Mapping[str, int] = field(default_factory=dict)
    blocked: Mapping[str, Bools] = field(default_factory=dict)
    limits: Sequence[Limit] = ()


@dataclass(frozen=True)
class Solution:
    """A plan: which candidate each task takes, and how good that is.

    Attributes:
        choice: Task to index of its candidate.
        cost: USD, edges included.
        hours: Makespan: the last finish time when every task starts as soon as its inputs have arrived.
        bound: Proven lower bound on the objective.
        optimal: True if ``bound`` proves the plan optimal (to within 4e-6 of it, or 1e-6).
        method: What solved it: ``messages``, ``paths``, ``labels``, ``ilp`` (HiGHS) or ``cbc``.
        finish: Finish time of each task, hours after the start.
    """

    choice: dict[str, int]
    cost: float
    hours: float
    bound: float
    optimal: bool
    method: str
    finish: dict[str, float] = field(default_factory=dict, compare=False)


def assess(problem: Problem, choice: Mapping[str, int]) -> tuple[float, dict[str, float]]:
    """A plan's cost in USD, edges included, and the finish time of each task in hours.

    A task starts when the data of all its parents has arrived.
    """
    at = {task: int(problem.location[task][choice[task]]) for task in problem.tasks}
    cost = math.fsum(float(problem.cost[task][choice[task]]) for task in problem.tasks)
    cost += math.fsum(edge.units * float(edge.cost[at[edge.parent], at[edge.child]]) for edge in problem.edges)
    finish: dict[str, float] = {}
    for task in problem.order:
        arrivals = [finish[e.parent] + e.units * float(e.hours[at[e.parent], at[task]]) for e in problem.parents[task]]
        finish[task] = max(arrivals, default=0.0) + float(problem.hours[task][choice[task]])
    return cost, finish


def objective_of(minimize: Minimize, cost: float, hours: float) -> float:
    """The value of the objective for a plan of that cost and makespan."""
    match minimize:
        case "cost":
            return cost
        case "time":
            return hours
        case "cost*time":
            return cost * hours
        case Weighted():
            return minimize.cost * cost + minimize.time * hours
    raise _without_weights(minimize)


def _without_weights(minimize: Never) -> SpecError:
    """To the type checker none is left: a new objective has to be given its weights above."""
    return SpecError(f"minimize: {minimize!r} is not 'cost', 'time', 'cost*time' or Weighted(cost=…, time=…)")
