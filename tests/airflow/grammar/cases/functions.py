"""Kinds of functions and of calls that a decorator gets to see."""

import dataclasses
import functools
from datetime import timedelta

import pendulum
from airflow.sdk import task
from airflow.sdk.definitions.context import Context

from tests.airflow.grammar.helpers import Scaler, doubled
from tests.airflow.grammar.registry import case, sky_only

OFFSET = 5
TABLE = {"a": [1, 2]}


def _with_helper(x):
    return _helper(x) + OFFSET


def _helper(x):
    return x * 100


@case()
def helpers_and_constants_of_the_file(kit):
    kit.result(kit.function(_with_helper, task_id="use")(2))


@case()
def a_helper_of_another_file(kit):
    kit.result(kit.function(lambda x: doubled(x) + len(TABLE["a"]), task_id="use")(4))


@case()
def a_closure(kit):
    def made(factor):
        def times(x):
            return x * factor

        return times

    kit.result(kit.function(made(3), task_id="times")(7))


@case()
def a_method(kit):
    kit.result(kit.function(Scaler(4).scaled, task_id="scaled")(7))


@case()
def a_wrapped_function(kit):
    def logged(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return ["called", function(*args, **kwargs)]

        return inner

    @kit.function
    @logged
    def add(x, y=1):
        return x + y

    kit.result(add(2))


@case()
def stars_and_keywords(kit):
    @kit.function
    def use(first, *rest, key, **more):
        return [first, rest, key, more["other"]]

    kit.result(use(1, 2, 3, key="k", other="o"))


@case()
def recursion_and_local_imports(kit):
    @kit.function
    def use(n):
        import itertools

        def fact(k):
            return 1 if k < 2 else k * fact(k - 1)

        return [fact(n), list(itertools.accumulate(range(n)))]

    kit.result(use(5))


@case()
def a_generator_used_inside(kit):
    @kit.function
    def use():
        def numbers():
            yield from range(3)

        return list(numbers())

    kit.result(use())


@sky_only(["0", "1", "2"])
def a_generator_returned(kit):
    @kit.function
    def make():
        return (n for n in range(3))

    kit.result(make())


@sky_only(["7", "'point'"])
def an_object_of_a_class_of_the_file(kit):
    @dataclasses.dataclass
    class Point:
        x: int
        name: str

    make = kit.function(lambda: Point(7, "point"), task_id="make")
    kit.result(kit.function(lambda point: [point.x, point.name], task_id="use")(make()))


@case()
def sets_tuples_bytes_and_none(kit):
    make = kit.function(lambda: {"t": (1, 2), "n": None, "b": True, "f": 0.5}, task_id="make")
    kit.result(kit.function(lambda said: [list(said["t"]), said["n"], said["b"], said["f"]], task_id="use")(make()))


@case()
def a_moment_and_a_span(kit):
    @kit.function
    def make():
        from datetime import UTC, datetime

        return [datetime(2026, 3, 1, tzinfo=UTC)]

    use = kit.function(lambda said: said[0].isoformat()[:10], task_id="use")
    kit.result(use(make()))


@sky_only(["3", "1.5"])
def arrays(kit):
    @kit.function
    def make():
        import numpy as np

        return np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 3.0]])

    kit.result(kit.function(lambda array: [len(array), float(array.mean())], task_id="use")(make()))


@case()
def nothing_kept_in_xcom(kit):
    first = kit.function(lambda: 1, task_id="first", do_xcom_push=False)()
    first >> (after := kit.function(lambda: 2, task_id="after")())
    kit.result(after)


@case()
def several_results_of_a_nested_kind(kit):
    @kit.function(multiple_outputs=True)
    def split():
        return {"parts": {"a": [1, 2]}, "count": 2}

    both = split()
    kit.result(kit.function(lambda parts, count: parts["a"][count - 1], task_id="use")(both["parts"], both["count"]))


@case()
def several_results_that_are_no_mapping(kit):
    kit.result(kit.function(lambda: [1, 2], task_id="make", multiple_outputs=True)())


@case()
def a_key_that_is_not_there(kit):
    made = kit.function(lambda: {"a": 1}, task_id="made", multiple_outputs=True)()
    kit.result(kit.function(lambda x: x, task_id="use")(made["b"]))


@case()
def overridden_twice(kit):
    inc = kit.function(lambda x: x + 1, task_id="inc")
    slow = inc.override(task_id="slow", retries=2, retry_delay=timedelta(0), priority_weight=3)
    kit.result(slow.override(task_id="slower", doc_md="more")(inc(1)))


@case(params={"n": 3})
def the_context_as_keywords(kit):
    @kit.function
    def use(x, **context):
        return [x, context["params"]["n"], len(context["ds"]), context["run_id"] != ""]

    kit.result(use(1))


@case()
def a_default_for_a_context_name(kit):
    @kit.function
    def use(ts_nodash=None, test_mode=None, x=1):
        return [len(ts_nodash), x]

    kit.result(use())


@case(schedule="@daily", catchup=False)
def moments_with_their_own_methods(kit):
    @kit.function
    def use(rendered, logical_date, data_interval_start=None, **context):
        before = logical_date.subtract(days=1).to_date_string() < context["ds"]
        return [before, data_interval_start.day_of_week < 7, context["data_interval_end"].timezone_name, rendered.year]

    made = task(lambda: pendulum.datetime(2026, 3, 1), task_id="made")
    kit.result(use(made()))


@case()
def an_annotated_function(kit):
    @kit.function
    def use(x: "int", names: list[str] | None = None) -> "list[object]":
        """Has a docstring, too."""
        return [x, names]

    kit.result(use(1, names=["a"]))


@case()
def a_callback_takes_the_value(kit):
    seen = task(lambda value: value + 1, task_id="seen")
    made = kit.function(lambda: 4, task_id="made")()
    kit.result(seen(made.operator.output))


@case()
def positional_and_named_by_templates(kit):
    @kit.function
    def use(a, b, c="c"):
        return [a, b, c]

    kit.result(use("{{ 1 + 1 }}", b=["{{ dag.dag_id.split('.')[0] }}", {"deep": "{{ 'x' | upper }}"}]))


@case()
def an_argument_with_template_fields(kit):
    kit.result(kit.function(lambda query: query.text, task_id="use")(Query("{{ 'a' * 3 }}")))


class Query:
    """As authors keep their own things that Airflow shall render."""

    template_fields = ("text",)

    def __init__(self, text):
        self.text = text


@case()
def an_exception_of_the_file(kit):
    class Strange(Exception):
        pass

    @kit.function
    def fails():
        raise Strange("x")

    kit.result(kit.function(lambda: "after", task_id="after", trigger_rule="all_failed")())
    fails() >> kit.dag.get_task("after")


@case()
def run_if_and_skip_if(kit):
    def yes(context: Context) -> bool:
        return context["ti"].task_id != ""

    first = task.run_if(yes)(kit.function(lambda: 1, task_id="first"))()
    second = task.skip_if(yes)(kit.function(lambda: 2, task_id="second"))()
    both = kit.function(lambda a, b: [a, b], task_id="both", trigger_rule="none_failed")
    kit.result(both(first, second))
