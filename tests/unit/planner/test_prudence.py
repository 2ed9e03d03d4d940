"""Plans that try unknown machines at a risk that is paid for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sky_core.optimizer import Problem, Solution, solve
from sky_core.planner.prudence import Solve, solve_prudently
from sky_core.spec import Objective

COST = st.floats(0.1, 10)
CANDIDATE = st.tuples(COST, st.floats(1, 4))  # what it seems to cost, and how much more at worst


def problem(cost: Mapping[str, list[float]]) -> Problem:
    arrays = {name: np.array(values) for name, values in cost.items()}
    nowhere = {name: np.zeros(len(values), dtype=np.int64) for name, values in cost.items()}
    return Problem(list(cost), arrays, {name: np.ones(len(values)) for name, values in cost.items()}, nowhere, [])


def solver(hopeful: Problem, asked: list[Mapping[str, np.ndarray]] | None = None) -> Solve:
    def answer(objective: Objective, blocked: Mapping[str, np.ndarray]) -> Solution:
        if asked is not None:
            asked.append(dict(blocked))
        return solve(hopeful, minimize=objective.minimize, blocked=blocked)

    return answer


def first(**at: int) -> dict[str, np.ndarray]:
    return {name: np.arange(2) == number for name, number in at.items()}


def test_what_one_task_saves_for_certain_pays_for_the_try_of_another() -> None:
    hopeful = problem({"train": [30.0, 8.0], "infer": [2.0, 1.5]})
    worst = problem({"train": [30.0, 16.0], "infer": [2.0, 4.0]})
    assert solve_prudently(solver(hopeful), lambda: worst, first(train=0, infer=0), Objective()).choice == {
        "train": 1,
        "infer": 1,
    }


def test_the_riskiest_task_is_held_back_first() -> None:
    hopeful = problem({"train": [30.0, 20.0], "infer": [2.0, 1.5]})
    worst = problem({"train": [30.0, 45.0], "infer": [2.0, 1.9]})
    asked: list[Mapping[str, np.ndarray]] = []
    found = solve_prudently(solver(hopeful, asked), lambda: worst, first(train=0, infer=0), Objective())
    assert found.choice == {"train": 0, "infer": 1}
    assert [list(blocked) for blocked in asked] == [[], ["train"]]


def test_without_a_first_run_or_for_speed_nothing_is_held_back() -> None:
    hopeful, worst = problem({"train": [30.0, 20.0]}), problem({"train": [30.0, 45.0]})
    for known, objective in ((np.zeros(2, dtype=bool), Objective()), (np.arange(2) == 0, Objective(minimize="time"))):
        asked: list[Mapping[str, np.ndarray]] = []
        solve_prudently(solver(hopeful, asked), lambda: worst, {"train": known}, objective)
        assert len(asked) == 1


def test_a_limit_that_only_the_try_keeps_comes_first() -> None:
    hopeful = replace(problem({"train": [30.0, 20.0]}), hours={"train": np.array([9.0, 2.0])})
    worst = replace(hopeful, cost={"train": np.array([30.0, 45.0])})

    def in_time(objective: Objective, blocked: Mapping[str, np.ndarray]) -> Solution:
        return solve(hopeful, minimize="cost", deadline_hours=5, blocked=blocked)

    assert solve_prudently(in_time, lambda: worst, first(train=0), Objective()).choice == {"train": 1}


@given(st.lists(st.lists(CANDIDATE, min_size=1, max_size=5), min_size=1, max_size=4))
def test_at_worst_no_plan_costs_more_than_the_first(tasks: list[list[tuple[float, float]]]) -> None:
    names = [f"task {number}" for number in range(len(tasks))]
    hopeful = problem({name: [cost for cost, _ in found] for name, found in zip(names, tasks, strict=True)})
    worst = problem(
        {
            name: [cost * (factor if number else 1) for number, (cost, factor) in enumerate(found)]
            for name, found in zip(names, tasks, strict=True)
        }
    )
    made_on = {name: np.arange(len(found)) == 0 for name, found in zip(names, tasks, strict=True)}
    choice = solve_prudently(solver(hopeful), lambda: worst, made_on, Objective()).choice
    promised = math.fsum(float(worst.cost[name][0]) for name in names)
    assert math.fsum(float(worst.cost[name][choice[name]]) for name in names) <= promised + 1e-9
