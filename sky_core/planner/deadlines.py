"""When each task has to be done: what its own deadline leaves to choose from, and its share of the pipeline's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import TypedDict, Unpack

import numpy as np

from sky_core.errors import Infeasible
from sky_core.optimizer import Edge, Limit, Minimize, Problem, Solution, solve
from sky_core.optimizer.problem import Bools
from sky_core.planner.candidates import Candidates
from sky_core.planner.plan import Plan
from sky_core.spec import Pipeline, Task


def fast_enough(task: Task, candidates: Candidates) -> Candidates:
    """The candidates on which the task, once submitted, is done within a deadline given in hours.

    Raises:
        Infeasible: if there is none; names the field and the least that would do.
    """
    if not isinstance(task.deadline, float):
        return candidates
    fast = candidates.only(np.maximum(candidates.at_most, candidates.hours) <= task.deadline)
    if len(fast) == 0:
        least = float(candidates.at_most.min())
        message = f"Task.{task.name}: deadline: nothing does it within {task.deadline:g} h"
        raise Infeasible("deadline", least, message, cure=f"allow at least {least:.3g} h")
    return fast


def points_in_time(pipeline: Pipeline) -> dict[str, float]:
    """Task to the hours from now to the point in time at which it has to be done.

    Raises:
        SpecError: if one is in the past.
    """
    now = datetime.now(UTC)
    hours = {task.name: task.hours_to_deadline(now) for task in pipeline.tasks if isinstance(task.deadline, datetime)}
    return {name: left for name, left in hours.items() if left is not None}


class Goal(TypedDict, total=False):
    """Arguments of :func:`~sky_core.optimizer.solve` that are handed on as they are."""

    minimize: Minimize
    budget_usd: float | None
    time_limit_s: float
    blocked: Mapping[str, Bools] | None
    limits: Sequence[Limit]


def solve_in_time(
    problem: Problem, due: Mapping[str, float], deadline_hours: float | None, **goal: Unpack[Goal]
) -> Solution:
    """:func:`~sky_core.optimizer.solve` with a latest finish for some tasks, hours.

    The optimizer knows one deadline, the makespan's. A task that has to be done sooner gets a successor that costs
    nothing and takes the difference, which is the same constraint exactly.

    Raises:
        Infeasible: if the deadlines cannot be kept.
    """
    solution = solve(problem, deadline_hours=deadline_hours, **goal)
    if all(solution.finish[name] <= hours for name, hours in due.items()):
        return solution
    whole = deadline_hours if deadline_hours is not None else _longest(problem) + max(due.values())
    waits = {f"{name} in time": (name, whole - hours) for name, hours in due.items() if hours < whole}
    nothing = np.zeros((problem.locations, problem.locations))
    longer = replace(
        problem,
        tasks=[*problem.tasks, *waits],
        cost={**problem.cost, **{wait: np.zeros(1) for wait in waits}},
        hours={**problem.hours, **{wait: np.array([hours]) for wait, (_, hours) in waits.items()}},
        location={**problem.location, **{wait: np.zeros(1, dtype=np.int64) for wait in waits}},
        edges=[*problem.edges, *(Edge(name, wait, nothing, nothing) for wait, (name, _) in waits.items())],
    )
    try:
        found = solve(longer, deadline_hours=whole, **goal)
    except Infeasible as error:
        if error.constraint != "deadline_hours" or error.least is None:
            raise
        missing, names = error.least - whole, ", ".join(f"Task.{name}: deadline" for name in due)
        raise Infeasible(
            "deadline", None, f"{names}: at least {missing:.3g} h too early", cure=f"allow {missing:.3g} h more"
        ) from None
    finish = {name: hours for name, hours in found.finish.items() if name not in waits}
    choice = {name: number for name, number in found.choice.items() if name not in waits}
    return replace(found, choice=choice, finish=finish, hours=max(finish.values()))


def _longest(problem: Problem) -> float:
    """A makespan in hours that no plan exceeds."""
    hours = [*problem.hours.values(), *(edge.units * edge.hours for edge in problem.edges)]
    return sum(float(values.max()) for values in hours)


def task_hours(pipeline: Pipeline, plan: Plan, task: str, hours_left: float) -> float:
    """Hours that a task may take from now on, if the pipeline has ``hours_left`` to its deadline.

    The slack of the longest path that begins with the task is split over the path's tasks in proportion to their
    planned hours. Asked anew as each task starts, this hands on what the tasks before it have left over. Without
    slack a task gets its planned hours.
    """
    planned = {name: place.expected_hours + place.transfer_hours for name, place in plan.placements.items()}
    own = planned[task]
    path = own + _longest_after(pipeline, planned, task)
    return own * max(1.0, hours_left / path)


def _longest_after(pipeline: Pipeline, planned: Mapping[str, float], task: str) -> float:
    """Hours of the longest path that begins with one of the task's children; each edge is looked at once."""
    after = dict.fromkeys(planned, 0.0)
    children: dict[str, list[str]] = {name: [] for name in planned}
    for parent, child in pipeline.edges():
        children[parent].append(child)
    for name in TopologicalSorter(children).static_order():  # children first
        after[name] = max((planned[child] + after[child] for child in children[name]), default=0.0)
    return after[task]
