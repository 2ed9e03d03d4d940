"""The integer program that the peer solves: a variable per candidate and per pair of candidates of an edge.

As in the dissertation (section 4.1.3) and in SkyPilot's optimizer: products of one-hot vectors are linearized
over all pairs of candidates, nothing is reduced beforehand, PuLP builds it and CBC solves it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pulp

from sky_core.optimizer import Problem


@dataclass(frozen=True)
class Peer:
    """What it took. ``objective`` is None if CBC was stopped before it had proven an optimum."""

    seconds: float
    objective: float | None


def cpu_seconds() -> float:
    """CPU seconds of this process and of those it has waited for, CBC among them: other work on the host is not in."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def solve(problem: Problem, minimize: str, limit_s: float) -> Peer:
    """Build and solve for ``"cost"`` or ``"time"``; CBC is stopped after ``limit_s`` seconds."""
    begin = cpu_seconds()
    program = pulp.LpProblem("peer", pulp.LpMinimize)
    pick = {t: _one_hot(program, t, len(problem.cost[t])) for t in problem.tasks}
    pairs = {}
    for number, edge in enumerate(problem.edges):
        pairs[number] = _pairs(program, number, pick[edge.parent], pick[edge.child])
    if minimize == "cost":
        program += pulp.lpSum(
            [pulp.lpDot(problem.cost[t].tolist(), pick[t]) for t in problem.tasks]
            + [pulp.lpDot(_flat(problem, e, "cost"), pairs[k]) for k, e in enumerate(problem.edges)]
        )
    else:
        _makespan(program, problem, pick, pairs)
    program.solve(pulp.PULP_CBC_CMD(mip=True, msg=False, timeLimit=limit_s, threads=1))
    proven = program.sol_status == pulp.LpSolutionOptimal
    return Peer(cpu_seconds() - begin, float(pulp.value(program.objective)) if proven else None)


def _one_hot(program: pulp.LpProblem, task: str, count: int) -> list[pulp.LpVariable]:
    pick = [program.add_variable(f"s_{task}_{i}", cat="Binary") for i in range(count)]
    program += pulp.lpSum(pick) == 1
    return pick


def _pairs(
    program: pulp.LpProblem, number: int, parent: list[pulp.LpVariable], child: list[pulp.LpVariable]
) -> list[pulp.LpVariable]:
    pair = [
        [program.add_variable(f"e_{number}_{i}_{j}", cat="Binary") for j in range(len(child))]
        for i in range(len(parent))
    ]
    for i, one in enumerate(parent):
        program += pulp.lpSum(pair[i]) == one
    for j, one in enumerate(child):
        program += pulp.lpSum(row[j] for row in pair) == one
    return [variable for row in pair for variable in row]


def _flat(problem: Problem, edge: object, what: str) -> list[float]:
    """The edge's matrix over pairs of candidates, row by row."""
    matrix = getattr(edge, what)
    at = problem.location[edge.parent], problem.location[edge.child]  # type: ignore[attr-defined]
    return np.asarray(matrix)[np.ix_(*at)].ravel().tolist()  # type: ignore[no-any-return]


def _makespan(
    program: pulp.LpProblem,
    problem: Problem,
    pick: dict[str, list[pulp.LpVariable]],
    pairs: dict[int, list[pulp.LpVariable]],
) -> None:
    """Finish times over the DAG; the objective is the last of them."""
    finish = {t: program.add_variable(f"f_{t}", lowBound=0) for t in problem.tasks}
    end = program.add_variable("end", lowBound=0)
    program += end
    for task in problem.tasks:
        run = pulp.lpDot(problem.hours[task].tolist(), pick[task])
        program += finish[task] >= run
        program += end >= finish[task]
        for number, edge in enumerate(problem.edges):
            if edge.child == task:
                moved = pulp.lpDot(_flat(problem, edge, "hours"), pairs[number])
                program += finish[task] >= finish[edge.parent] + moved + run
