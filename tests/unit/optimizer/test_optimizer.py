"""The optimizer against brute force: every objective, every constraint, every method, on small random problems."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.errors import Infeasible, SpecError
from sky_core.optimizer import Edge, Minimize, Problem, Solution, Weighted, solve
from sky_core.optimizer.problem import assess, objective_of

METHODS = ("auto", "labels", "ilp")  # "cbc" starts a process for each solve and has a test of its own
OBJECTIVES: list[Minimize] = ["cost", "time", "cost*time", Weighted(cost=1.0, time=0.7), Weighted(cost=0.0, time=2.0)]


@st.composite
def problems(draw: st.DrawFn, *, tasks: int = 4, candidates: int = 3) -> Problem:
    """DAGs of up to ``tasks`` tasks over 5 locations that nest: two clouds, one with two regions, one of two zones."""
    count = draw(st.integers(1, tasks))
    names = [f"t{number}" for number in range(count)]
    # Few different numbers, so that ties and dominance happen.
    number = st.integers(0, 12).map(lambda n: n / 4)
    cloud, region = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3])
    odd = draw(st.booleans())  # some problems do not nest at all

    def matrix() -> np.ndarray:
        if odd:
            return np.array([[draw(number) for _ in range(5)] for _ in range(5)])
        inside, between, across = (draw(number) for _ in range(3))
        back = draw(number)
        outside = np.where(cloud[:, None] < cloud[None, :], across, back)
        near = np.where(region[:, None] == region[None, :], inside, inside + between)
        free = np.where(np.eye(5, dtype=bool), 0.0, near)
        return np.where(cloud[:, None] == cloud[None, :], free, outside)

    size = {name: draw(st.integers(1, candidates)) for name in names}
    cost = {name: np.array([draw(number) for _ in range(size[name])]) for name in names}
    hours = {name: np.array([draw(number) for _ in range(size[name])]) for name in names}
    location = {name: np.array([draw(st.integers(0, 4)) for _ in range(size[name])]) for name in names}
    pairs = [pair for pair in itertools.combinations(names, 2) if draw(st.booleans())]
    order = draw(st.permutations(names))
    shared = matrix(), matrix()  # edges that differ in nothing but how much flows

    def edge(parent: str, child: str) -> Edge:
        if draw(st.booleans()):
            return Edge(parent, child, *shared, units=draw(st.sampled_from([0.0, 0.5, 3.0])))
        return Edge(parent, child, matrix(), matrix())

    return Problem(order, cost, hours, location, [edge(a, b) for a, b in pairs])


def plans(problem: Problem) -> Iterator[tuple[dict[str, int], float, float]]:
    """Every plan with its cost and makespan."""
    for picks in itertools.product(*(range(len(problem.cost[task])) for task in problem.tasks)):
        choice = dict(zip(problem.tasks, picks, strict=True))
        cost, finish = assess(problem, choice)
        yield choice, cost, max(finish.values())


def check(problem: Problem, solution: Solution, minimize: Minimize, feasible: list[tuple[float, float]]) -> None:
    """The solution is the best of the feasible (cost, hours) in the objective, and in what breaks ties."""
    cost, finish = assess(problem, solution.choice)
    assert (solution.cost, solution.hours) == pytest.approx((cost, max(finish.values())))
    least = min(objective_of(minimize, *plan) for plan in feasible)
    assert objective_of(minimize, solution.cost, solution.hours) == pytest.approx(least, rel=1e-6, abs=1e-6)
    assert solution.optimal
    assert solution.bound <= least + 1e-6
    if minimize in ("cost", "time"):
        other = 1 if minimize == "cost" else 0
        ties = [plan[other] for plan in feasible if plan[1 - other] <= least + 1e-9]
        assert (solution.cost, solution.hours)[other] == pytest.approx(min(ties), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("minimize", OBJECTIVES)
@pytest.mark.parametrize("method", METHODS)
def test_moving_far_may_be_cheaper_than_moving_near(minimize: Minimize, method: str) -> None:
    """Two clouds, between which everything is free; within each, moving between its regions takes time."""
    nothing, here = np.zeros(3), np.zeros(3, dtype=int)
    cloud = np.array([0, 0, 0, 1, 1])
    region = np.array([0, 0, 1, 2, 3])
    near = 0.25 * ((cloud[:, None] == cloud) & (region[:, None] != region))
    hours = {"a": nothing, "b": np.full(3, 0.25)}
    edge = Edge("a", "b", np.zeros((5, 5)), near)
    problem = Problem(["a", "b"], {"a": nothing, "b": nothing}, hours, {"a": here, "b": here}, [edge])
    check(problem, solve(problem, minimize=minimize, method=method), minimize, [(0.0, 0.25)])


@given(problems(), st.sampled_from(OBJECTIVES), st.sampled_from(METHODS))
@settings(max_examples=120)
def test_optimum_is_brute_force(problem: Problem, minimize: Minimize, method: str) -> None:
    everything = [(cost, hours) for _, cost, hours in plans(problem)]
    check(problem, solve(problem, minimize=minimize, method=method), minimize, everything)


@given(problems(), st.sampled_from(OBJECTIVES), st.sampled_from(METHODS), st.data())
@settings(max_examples=120)
def test_deadline_and_budget_are_kept(problem: Problem, minimize: Minimize, method: str, data: st.DataObject) -> None:
    everything = [(cost, hours) for _, cost, hours in plans(problem)]
    limit_hours = data.draw(st.none() | st.sampled_from(sorted({hours for _, hours in everything})))
    limit_usd = data.draw(st.none() | st.sampled_from(sorted({cost for cost, _ in everything})))
    feasible = [
        (cost, hours)
        for cost, hours in everything
        if (limit_hours is None or hours <= limit_hours + 1e-9) and (limit_usd is None or cost <= limit_usd + 1e-9)
    ]
    asked = {"minimize": minimize, "deadline_hours": limit_hours, "budget_usd": limit_usd, "method": method}
    if feasible:
        check(problem, solve(problem, **asked), minimize, feasible)
        return
    with pytest.raises(Infeasible) as caught:
        solve(problem, **asked)
    assert caught.value.constraint == "budget_usd"  # each limit by itself can be kept
    within = [cost for cost, hours in everything if limit_hours is None or hours <= limit_hours + 1e-9]
    assert caught.value.least == pytest.approx(min(within))


@given(problems(), st.sampled_from(OBJECTIVES))
@settings(max_examples=8)
def test_cbc_agrees(problem: Problem, minimize: Minimize) -> None:
    plan, other = solve(problem, minimize=minimize), solve(problem, minimize=minimize, method="cbc")
    assert other.method == "cbc"
    values = [objective_of(minimize, found.cost, found.hours) for found in (plan, other)]
    assert values[0] == pytest.approx(values[1], rel=1e-6, abs=1e-6)


@given(problems(tasks=5), st.sampled_from(["cost", "time"]), st.data())
@settings(max_examples=60)
def test_pinned_resolve_is_a_fresh_solve(problem: Problem, minimize: Minimize, data: st.DataObject) -> None:
    solve(problem, minimize=minimize)  # leaves messages behind
    fixed = {
        task: data.draw(st.integers(0, len(problem.cost[task]) - 1))
        for task in problem.tasks
        if data.draw(st.booleans())
    }
    blocked = {
        task: np.array([data.draw(st.booleans()) and n > 0 for n in range(len(problem.cost[task]))])
        for task in problem.tasks
    }
    again = solve(problem, minimize=minimize, fixed=fixed, blocked=blocked)
    kept = {
        task: np.array([fixed[task]]) if task in fixed else np.flatnonzero(~blocked[task]) for task in problem.tasks
    }
    narrowed = Problem(
        problem.tasks,
        {task: problem.cost[task][kept[task]] for task in problem.tasks},
        {task: problem.hours[task][kept[task]] for task in problem.tasks},
        {task: problem.location[task][kept[task]] for task in problem.tasks},
        problem.edges,
    )
    fresh = solve(narrowed, minimize=minimize)
    assert (again.cost, again.hours) == pytest.approx((fresh.cost, fresh.hours))
    assert all(again.choice[task] in kept[task] for task in problem.tasks)


def test_infeasible_deadline_names_the_least_that_would_do() -> None:
    problem = Problem(["a"], {"a": np.array([1.0, 5.0])}, {"a": np.array([4.0, 2.0])}, {"a": np.array([0, 0])}, [])
    with pytest.raises(Infeasible, match="at least 2 h") as caught:
        solve(problem, deadline_hours=1.0)
    assert (caught.value.constraint, caught.value.least) == ("deadline_hours", pytest.approx(2.0))
    with pytest.raises(Infeasible, match=r"at least \$1") as caught:
        solve(problem, minimize="time", budget_usd=0.5)
    assert (caught.value.constraint, caught.value.least) == ("budget_usd", pytest.approx(1.0))
    with pytest.raises(Infeasible, match="within 3 h"):
        solve(problem, deadline_hours=3.0, budget_usd=2.0)
    with pytest.raises(Infeasible, match="every candidate of task 'a' is blocked"):
        solve(problem, blocked={"a": np.array([True, True])})


def test_a_mistake_in_the_problem_is_named() -> None:
    one = {"a": np.array([1.0]), "b": np.array([1.0])}
    here = {"a": np.array([0]), "b": np.array([0])}
    zero = np.zeros((1, 1))
    with pytest.raises(SpecError, match="cycle"):
        Problem(["a", "b"], one, one, here, [Edge("a", "b", zero, zero), Edge("b", "a", zero, zero)])
    with pytest.raises(SpecError, match="edge a -> b: cost and hours must both have the shape"):
        Problem(["a", "b"], one, one, here, [Edge("a", "b", zero, np.zeros((2, 2)))])
    with pytest.raises(SpecError, match="a: costs and hours must be finite"):
        Problem(["a", "b"], one | {"a": np.array([np.nan])}, one, here, [])
    with pytest.raises(SpecError, match="no task 'c'"):
        solve(Problem(["a", "b"], one, one, here, []), fixed={"c": 0})
    with pytest.raises(SpecError, match="minimize"):
        solve(Problem(["a", "b"], one, one, here, []), minimize="speed")


def test_same_question_same_answer() -> None:
    """Ties are broken by the order of the candidates, warm or cold."""
    tie = {"a": np.ones(4), "b": np.ones(4)}
    place = {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 0, 1, 1])}
    edge = Edge("a", "b", 1.0 - np.eye(2), np.zeros((2, 2)))
    problem = Problem(["a", "b"], tie, tie, place, [edge])
    assert [solve(problem).choice for _ in range(3)] == [{"a": 0, "b": 0}] * 3


def test_locations_that_all_differ_keep_their_own_distances() -> None:
    """Cost alone takes the second and the last location for one, time the second to the fourth; both tell all apart."""
    usd, delay = np.zeros((5, 5)), np.zeros((5, 5))
    usd[0, 0] = usd[3, 2] = delay[0, 4] = 0.25
    free = {"a": np.zeros(2), "b": np.zeros(2)}
    problem = Problem(
        ["a", "b"], free, free, {"a": np.array([0, 1]), "b": np.array([0, 4])}, [Edge("a", "b", usd, delay)]
    )
    for minimize in OBJECTIVES:
        check(problem, solve(problem, minimize=minimize), minimize, [(0.0, 0.0)])
