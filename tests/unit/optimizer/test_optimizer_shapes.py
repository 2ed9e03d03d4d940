"""DAGs of the shapes that public workflows have, with hundreds of tasks: proven, soon, and without a matrix an edge."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.optimizer import Edge, Problem, Solution, solve
from sky_core.planner.planning import Market, make_plan
from sky_core.spec import OutputRef

Pairs = list[tuple[int, int]]


def star(tasks: int) -> Pairs:
    """Many tasks whose results one collects (seismology)."""
    return [(number, tasks - 1) for number in range(tasks - 1)]


def samples(tasks: int) -> Pairs:
    """Samples, each through its own stages; every stage is collected (nf-core)."""
    stages = 5
    lanes = (tasks - 1 - stages) // stages
    at = [[lane * stages + stage for stage in range(stages)] for lane in range(lanes)]
    pairs = [pair for lane in at for pair in pairwise(lane)]
    reports = [lanes * stages + stage for stage in range(stages)]
    pairs += [(lane[stage], reports[stage]) for lane in at for stage in range(stages)]
    return [*pairs, *((report, tasks - 1) for report in reports)]


def mosaic(tasks: int) -> Pairs:
    """Images, the differences of neighbours, one model of them all, each image corrected by it (montage)."""
    images = tasks // 4
    fit, pairs = tasks - 1 - images, list[tuple[int, int]]()
    for first in range(images - 2):
        for step in (1, 2):
            difference = images + 2 * first + step - 1
            pairs += [(first, difference), (first + step, difference), (difference, fit)]
    return [*pairs, *((end, fit + 1 + image) for image in range(images) for end in (image, fit))]


def layers(tasks: int) -> Pairs:
    """Each task needs three of the layer before it."""
    rng, width = np.random.default_rng(1), 10
    pairs: Pairs = []
    for task in range(width, tasks):
        before = (task // width - 1) * width
        pairs += [(before + int(number), task) for number in rng.choice(width, 3, replace=False)]
    return pairs


SHAPES = {"star": star, "samples": samples, "mosaic": mosaic, "layers": layers}


def problem(tasks: int, pairs: Pairs, *, everywhere: bool) -> Problem:
    """Sixty machines in twelve places, faster ones being the better bargain; or each task with thirty of its own."""
    rng = np.random.default_rng(0)
    speed = np.exp(rng.uniform(np.log(0.4), np.log(4.0), 60))
    price = 0.2 * speed**0.8 * rng.uniform(0.8, 1.25, 60)
    at = rng.integers(0, 12, 60)
    apart = 1 - np.eye(12)
    usd, delay = rng.uniform(0.0, 0.12, (12, 12)) * apart, 8 / 5 / 3600 * apart
    names = [f"t{number}" for number in range(tasks)]
    cost, hours, location = {}, {}, {}
    for name, length in zip(names, rng.lognormal(4.0, 1.5, tasks) / 3600, strict=True):
        own = np.arange(60) if everywhere else np.sort(rng.choice(60, 30, replace=False))
        hours[name] = length / speed[own]
        cost[name], location[name] = hours[name] * price[own], at[own]
    edges = [Edge(names[a], names[b], usd, delay, float(rng.lognormal(-2.0, 2.0))) for a, b in pairs]
    return Problem(names, cost, hours, location, edges)


def timed(question: Callable[[], Solution]) -> tuple[Solution, float]:
    begun = time.process_time()
    return question(), time.process_time() - begun


@pytest.mark.parametrize("shape", SHAPES)
def test_cost_is_proven_and_time_within_a_hundredth(shape: str) -> None:
    asked = problem(300, SHAPES[shape](300), everywhere=True)
    cheapest, cost_s = timed(lambda: solve(asked))
    fastest, time_s = timed(lambda: solve(asked, minimize="time"))
    assert cheapest.optimal
    assert fastest.hours <= 1.01 * fastest.bound
    assert cost_s <= 2.0
    assert time_s <= 10.0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_where_no_place_has_the_best_for_all(shape: str) -> None:
    asked = problem(60, SHAPES[shape](60), everywhere=False)
    cheapest, cost_s = timed(lambda: solve(asked))
    fastest, time_s = timed(lambda: solve(asked, minimize="time"))
    assert cheapest.cost <= 1.01 * cheapest.bound
    assert fastest.hours <= 1.01 * fastest.bound
    assert cost_s + time_s <= 20.0


def test_a_deadline_that_can_be_kept_has_a_plan_however_short_the_time() -> None:
    asked = problem(150, layers(150), everywhere=False)
    fastest = solve(asked, minimize="time", time_limit_s=2.0)
    in_time = solve(asked, deadline_hours=1.2 * fastest.hours, time_limit_s=0.1)
    assert in_time.hours <= 1.2 * fastest.hours * (1 + 1e-9)
    assert solve(asked).cost * (1 - 1e-6) <= in_time.bound <= in_time.cost  # what it costs without haste, at least


def test_a_long_list_of_sizes_takes_no_matrix_each() -> None:
    tasks = [
        Task(name="t0", run="true", resources=Resources(cpus="2+"), hours=0.1, outputs={"out": Artifact(size_gb=1)})
    ]
    for number in range(1, 120):
        source = OutputRef(task=f"t{(number - 1) // 2}", output="out")
        tasks.append(
            Task(
                name=f"t{number}",
                run="true",
                resources=Resources(cpus="2+"),
                hours=0.1 + number / 1000,
                inputs={"data": source},
                outputs={"out": Artifact(size_gb=1 + number / 7)},
            )
        )
    begun = time.process_time()
    plan = make_plan(Pipeline(name="p", tasks=tuple(tasks)), Market(Catalog.embedded(), ("aws", "azure", "gcp")))
    assert plan.optimal
    assert time.process_time() - begun <= 10.0
