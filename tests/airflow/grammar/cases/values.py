"""What goes from task to task."""

import math

from airflow.sdk import literal, task

from tests.airflow.grammar.registry import case, sky_only


@case()
def map_reduce(kit):
    square = kit.function(lambda x: x * x, task_id="square")
    total = kit.function(lambda xs: sum(xs), task_id="total")
    kit.result(total(square.expand(x=[1, 2, 3])))


@case()
def several_results_one_taken(kit):
    @kit.function
    def split() -> dict[str, int]:
        return {"train": 80, "test": 20}

    @kit.function
    def use(n):
        return n + 1

    kit.result(use(split()["test"]))


@case()
def a_large_item_of_several(kit):
    @kit.function(multiple_outputs=True)
    def split():
        return {"big": list(range(40_000)), "small": 3}

    @kit.function
    def use(big, small):
        return sum(big) + small

    both = split()
    kit.result(use(both["big"], both["small"]))


@case()
def a_large_value_mapped_over(kit):
    make = kit.function(lambda: [list(range(9_000)), list(range(9_100))], task_id="make")
    size = kit.function(lambda part: len(part), task_id="size")
    kit.result(size.expand(part=make()))


@case()
def references_in_structures(kit):
    one = kit.function(lambda: list(range(30_000)), task_id="one")
    use = kit.function(lambda parts, n: len(parts["a"][0]) + len(parts["b"]) + n, task_id="use")
    made = one()
    kit.result(use({"a": [made], "b": made}, n=2))


@sky_only(["True", "2026", "2"])
def values_that_json_has_not(kit):
    @kit.function
    def make():
        from datetime import datetime

        return {"loss": math.inf, "when": datetime(2026, 1, 1), "pair": (1, 2)}

    kit.result(kit.function(lambda said: (said["loss"] > 1, said["when"].year, said["pair"][1]), task_id="use")(make()))


@case()
def a_plain_value_into_a_sky_task(kit):
    @task(multiple_outputs=False)
    def made():
        return {"n": [1, 2]}

    kit.result(kit.function(lambda said, k: said["n"][k], task_id="use")(made(), k=1))


@case(params={"n": 3, "who": "x"}, render_template_as_native_obj=True)
def arguments_rendered_natively(kit):
    kit.result(
        kit.function(lambda n, more: (n + 1, more), task_id="use")("{{ params.n }}", {"who": "{{ params.who }}"})
    )


@case(params={"n": 3})
def the_context_by_name(kit):
    @kit.function
    def use(params, ds=None, **more):
        return params["n"], len(ds), "run_id" in more

    kit.result(use())


@case()
def none_and_defaults(kit):
    nothing = kit.function(lambda: None, task_id="nothing")
    kit.result(kit.function(lambda x, y=2: (x, y), task_id="use")(nothing()))


@case()
def an_async_function(kit):
    @kit.function
    async def make():
        return 7

    kit.result(make())


@case()
def text_that_is_no_template(kit):
    kit.result(kit.function(lambda text: text, task_id="use")(literal("{{ not_one }}")))
