"""Descent: never dearer, never slower, whatever it starts from."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_core.optimizer.methods.descent import cheaper, faster
from sky_core.optimizer.problem import Problem, assess
from sky_core.optimizer.space import prepare
from tests.unit.optimizer.test_optimizer import problems


@settings(max_examples=60)
@given(problems(tasks=5), st.data())
def test_descent_gives_nothing_away(problem: Problem, data: st.DataObject) -> None:
    allowed = {task: np.arange(len(problem.cost[task])) for task in problem.tasks}
    space = prepare(problem, allowed, priced=True, timed=True)
    start = [data.draw(st.integers(0, len(at) - 1)) for at in space.at]
    cost, finish = assess(problem, space.choice(start))
    hours = max(finish.values())
    cheap_cost, cheap_finish = assess(problem, space.choice(cheaper(space, start, hours)))
    assert cheap_cost <= cost + 1e-9
    assert max(cheap_finish.values()) <= hours + 1e-9
    fast_cost, fast_finish = assess(problem, space.choice(faster(space, start)))
    assert fast_cost <= cost + 1e-9
    assert max(fast_finish.values()) <= hours + 1e-9
