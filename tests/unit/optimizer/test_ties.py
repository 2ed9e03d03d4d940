"""Of plans that are equally fast the cheapest is told, in DAGs too large to try every tie, too."""

import numpy as np
import pytest

from sky_core.errors import Infeasible
from sky_core.optimizer import Edge, Problem, solve

LAYERS, WIDTH, CHOICES = 10, 4, 60


def layered(seed=0):
    """40 unlike tasks in layers: most are off the longest path, and those may take their time."""
    rng = np.random.default_rng(seed)
    names = [f"t{number}" for number in range(LAYERS * WIDTH)]
    speed = np.sort(rng.uniform(1, 8, CHOICES))
    price = 0.1 * speed**1.3
    hours = {name: rng.uniform(1, 5) / speed for name in names}
    cost = {name: hours[name] * price for name in names}
    away = 1 - np.eye(CHOICES // 10)
    edges = [
        Edge(names[above * WIDTH + one], names[(above + 1) * WIDTH + other], 0.01 * away, 0.02 * away)
        for above in range(LAYERS - 1)
        for one in range(WIDTH)
        for other in range(WIDTH)
    ]
    return Problem(names, cost, hours, dict.fromkeys(names, np.arange(CHOICES) % (CHOICES // 10)), edges)


def test_the_cheapest_of_the_fastest_is_that_under_its_makespan_as_a_deadline():
    fastest = solve(layered(), minimize="time")
    in_time = solve(layered(), deadline_hours=fastest.hours)
    assert fastest.optimal
    assert fastest.cost <= in_time.cost * 1.01


def test_a_limit_that_is_told_to_do_will_do():
    with pytest.raises(Infeasible) as said:
        solve(layered(), budget_usd=0.1)
    enough = float(said.value.cure.rpartition("$")[2])
    assert solve(layered(), budget_usd=enough).cost <= enough
