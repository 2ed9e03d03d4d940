"""Limits on counts and the frontier, against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from time import thread_time

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.errors import Infeasible
from sky_core.optimizer import Edge, Limit, Problem, frontier, solve
from sky_core.optimizer.problem import assess

AMOUNT = st.integers(0, 12).map(lambda n: n / 4)


@st.composite
def problems(draw: st.DrawFn, tasks: int = 4) -> Problem:
    """DAGs over 3 unrelated locations, each task with a candidate at every one of them."""
    names = [f"t{number}" for number in range(draw(st.integers(1, tasks)))]

    def numbers(*shape: int) -> np.ndarray:
        return np.array([draw(AMOUNT) for _ in range(int(np.prod(shape)))]).reshape(shape)

    pairs = [pair for pair in itertools.combinations(names, 2) if draw(st.booleans())]
    edges = [Edge(a, b, numbers(3, 3), numbers(3, 3)) for a, b in pairs]
    location = {name: np.arange(3) for name in names}
    return Problem(names, {n: numbers(3) for n in names}, {n: numbers(3) for n in names}, location, edges)


def choices(problem: Problem) -> Iterator[dict[str, int]]:
    for picks in itertools.product(range(3), repeat=len(problem.tasks)):
        yield dict(zip(problem.tasks, picks, strict=True))


def graph(problem: Problem) -> nx.DiGraph:
    dag = nx.DiGraph([(edge.parent, edge.child) for edge in problem.edges])
    dag.add_nodes_from(problem.tasks)
    return dag


def keeps(problem: Problem, limit: Limit, choice: dict[str, int]) -> bool:
    used = {task: float(limit.uses[task][pick]) for task, pick in choice.items()}
    if not limit.at_once:
        return sum(used.values()) <= limit.count
    return all(sum(used[task] for task in chain) <= limit.count for chain in nx.antichains(graph(problem)))


@given(problems(), st.sampled_from(["cost", "time"]), st.booleans(), st.integers(0, 3), st.data())
@settings(max_examples=60)
def test_limits_are_kept(problem: Problem, minimize: str, at_once: bool, count: int, data: st.DataObject) -> None:
    uses = {task: np.array([data.draw(st.integers(0, 2)) for _ in range(3)], dtype=float) for task in problem.tasks}
    limit = Limit("gpus", count, uses, at_once=at_once)
    feasible = [choice for choice in choices(problem) if keeps(problem, limit, choice)]
    if not feasible:
        with pytest.raises(Infeasible, match="gpus") as caught:
            solve(problem, minimize=minimize, limits=[limit])
        assert caught.value.constraint == "gpus"
        return
    solution = solve(problem, minimize=minimize, limits=[limit])
    assert keeps(problem, limit, solution.choice)
    values = [assess(problem, choice) for choice in feasible]
    best = min(cost if minimize == "cost" else max(finish.values()) for cost, finish in values)
    assert (solution.cost if minimize == "cost" else solution.hours) == pytest.approx(best, abs=1e-6)
    assert solution.optimal


@given(problems())
@settings(max_examples=40)
def test_frontier_lies_on_the_true_one(problem: Problem) -> None:
    values = [(cost, max(finish.values())) for cost, finish in (assess(problem, choice) for choice in choices(problem))]
    plans = frontier(problem, points=5)
    for plan in plans:
        assert not any(
            cost <= plan.cost + 1e-9
            and hours <= plan.hours + 1e-9
            and (cost < plan.cost - 1e-6 or hours < plan.hours - 1e-6)
            for cost, hours in values
        )
    assert plans[0].hours == pytest.approx(min(hours for _, hours in values))
    assert plans[-1].cost == pytest.approx(min(cost for cost, _ in values))
    assert [plan.hours for plan in plans] == sorted(plan.hours for plan in plans)


def test_frontier_of_many_tasks_keeps_its_time() -> None:
    rng, places = np.random.default_rng(7), 60
    names = [f"t{number}" for number in range(120)]
    location = {name: np.arange(2 * places) % places for name in names}
    hours = {name: np.repeat(rng.uniform(1, 4) / np.array([1, 3]), places) for name in names}
    cost = {name: hours[name] * np.repeat(np.array([1, 6]), places) * rng.uniform(1, 1.3, 2 * places) for name in names}
    per_gb = np.round(rng.uniform(0.01, 0.1, (places, places)), 3) * (1 - np.eye(places))
    parents = {child: rng.choice(np.arange(child - child % 10 - 10, child - child % 10), 3, replace=False)
               for child in range(10, len(names))}  # fmt: skip
    edges = [Edge(names[parent], names[child], per_gb, per_gb / 10, units=float(rng.uniform(1, 20)))
             for child, chosen in parents.items() for parent in chosen.tolist()]  # fmt: skip
    problem = Problem(names, cost, hours, location, edges)
    begun = thread_time()
    plans = frontier(problem, points=8, time_limit_s=1.0)
    assert thread_time() - begun < 3.0
    assert len(plans) > 2
    assert [plan.cost for plan in plans] == sorted((plan.cost for plan in plans), reverse=True)


def test_reserved_machines_go_where_they_save_most() -> None:
    """Two reserved machines at a price of zero, three independent tasks: the cheapest of them pays."""
    price = {"a": 5.0, "b": 3.0, "c": 4.0}
    cost = {task: np.array([0.0, usd]) for task, usd in price.items()}  # reserved, on demand
    one, here = {task: np.ones(2) for task in price}, {task: np.zeros(2, dtype=int) for task in price}
    reserved = Limit("reserved", 2, {task: np.array([1.0, 0.0]) for task in price}, at_once=False)
    solution = solve(Problem(list(price), cost, one, here, []), limits=[reserved])
    assert solution.choice == {"a": 0, "b": 1, "c": 0}
    assert solution.cost == pytest.approx(3.0)
