"""What a plan took for granted, and that the turns it names are where the choice really turns."""

import pytest

from sky_core import Artifact, Objective, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view import words

NEEDS = Resources(cpus="4+", memory="8+")


@pytest.fixture(scope="module")
def market():
    return Market(Catalog.embedded(), ("aws", "azure", "gcp"))


def pair(size_gb=None, hours=None):
    """A task that only one cloud can run, and hands on what another one runs for less."""
    first = Task(
        name="first", run="true", hours=hours, outputs={"x": Artifact(size_gb=size_gb)},
        resources=Resources(cloud="aws", region="us-east-1", cpus="4+", memory="8+"),
    )  # fmt: skip
    second = Task(name="second", run="true", hours=1, inputs={"x": first.output("x")}, resources=NEEDS)
    return Pipeline(name="p", tasks=(first, second))


def places(plan):
    return {name: (place.location, place.instance_type) for name, place in plan.placements.items()}


def test_a_size_that_nobody_told_turns_the_choice_where_it_says(market):
    plan = make_plan(pair(hours=1), market, explain=True)
    (guess,) = plan.guesses
    assert (guess.task, guess.what, guess.assumed) == ("first", "output_gb", 0)
    assert guess.above is not None
    assert places(make_plan(pair(guess.above * 0.99, 1), market)) == places(plan)
    turned = make_plan(pair(guess.above * 1.06, 1), market)
    assert turned.placements["second"].location != plan.placements["second"].location
    assert guess.above_then.startswith(f"second on {turned.placements['second'].machine.split('/')[0]}"), "not first's"
    assert words.guess(guess).startswith("first: its outputs have no size and count 0 GB; better above")


def test_a_run_time_that_nobody_told_turns_where_the_deadline_breaks(market):
    plan = make_plan(pair(1.0), market, Objective(deadline=5.0), explain=True)
    (guess,) = plan.guesses
    assert (guess.task, guess.what, guess.assumed, guess.above_then) == ("first", "hours", 1, "no plan at all")
    assert guess.above == pytest.approx(5.0 - 1 - 0.1, rel=0.1)
    assert guess.looked_at == (1 / 32, 32)


def test_what_is_told_is_no_guess_and_tasks_alike_are_asked_once(market):
    assert make_plan(pair(1.0, 1), market, explain=True).guesses == ()
    assert make_plan(pair(), market).guesses == ()
    alike = tuple(Task(name=f"t{number}", run="true", resources=NEEDS) for number in range(30))
    guesses = make_plan(Pipeline(name="p", tasks=alike), market, explain=True).guesses
    assert [guess.task for guess in guesses] == [task.name for task in alike]
    assert len({guess.model_copy(update={"task": ""}) for guess in guesses}) == 1


def test_a_given_input_without_a_size_is_a_guess(market):
    given = Artifact(uri="s3://bucket/x", location="aws/us-east-1")
    task = Task(name="t", run="true", hours=1, inputs={"x": given}, resources=NEEDS)
    (guess,) = make_plan(Pipeline(name="p", tasks=(task,)), market, explain=True).guesses
    assert guess.what == "input_gb"
    assert guess.above is not None
