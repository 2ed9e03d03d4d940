"""How values come and go: every way in which Prefect hands a task's value on."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

from prefect import flow, task, unmapped
from prefect.futures import as_completed, wait
from prefect.utilities.annotations import quote
from pydantic import BaseModel

from tests.prefect.same.cases import case, cloud


@cloud
def plus(x, y=1):
    return x + y


@cloud
def total(values):
    return sum(values)


@cloud
def whole(x):
    """Larger than what goes along with a call."""
    return {"numbers": list(range(x)), "text": "x" * 20_000}


@task
def here(value):
    return value


@task
def kind(value):
    return type(value).__name__


@flow
def sub(value):
    return value


@dataclass
class Pair:
    left: Any
    right: Any = None


class Model(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    value: Any


Named = namedtuple("Named", "first second")


@case
def value_of_submit():
    return plus.submit(1).result()


@case
def chain_of_two():
    return plus.submit(plus.submit(1)).result()


@case
def chain_of_large():
    @cloud
    def count(given):
        return len(given["numbers"]), len(given["text"])

    return count.submit(whole.submit(5)).result()


@case
def large_to_here():
    made = whole.submit(3)
    return here.submit(made).result() == made.result()


@case
def cloud_after_here():
    return plus.submit(here.submit(4)).result()


@case
def mapped():
    return plus.map([1, 2]).result()


@case
def mapped_of_mapped_and_reduced():
    return total.submit(here.map(plus.map([1, 2]))).result()


@case
def mapped_with_unmapped():
    return here.map(plus.map([1], unmapped(5))).result(), here.map([1, 2]).result()


@case
def mapped_over_a_future():
    made = here.submit([1, 2])
    return plus.map(made.result(), y=unmapped(here.submit(3))).result()


@case
def inside_a_dict_a_list_a_tuple_a_set():
    made = plus.submit(1)
    return here.submit({"a": made, "b": [[made], (made, 1)], "c": {"d": {"e": made}}}).result()


@case
def inside_a_dataclass_and_a_model():
    made = plus.submit(1)
    pair, model = here.submit(Pair(made, [made])).result(), here.submit(Model(value={"x": made})).result()
    return pair.left, pair.right, model.value


@case
def inside_a_named_tuple():
    return tuple(here.submit(Named(plus.submit(1), 2)).result())


@case
def nested_into_a_cloud_task():
    @cloud
    def add(given):
        return given["a"] + given["b"][0] + given["c"].left

    made = plus.submit(1)
    return add.submit({"a": made, "b": [made], "c": Pair(made)}).result()


@case
def direct_call_with_a_future():
    return here(plus.submit(2))


@case
def subflow_with_a_future():
    return sub(plus.submit(3)), sub({"x": [plus.submit(4)]})


@case
def of_the_state():
    made = plus.submit(1)
    made.wait()
    return made.state.result(), made.state.name, made.state.is_completed()


@case
def returned_state():
    state = plus.submit(1, return_state=True)
    return state.result(), state.type.value


@case
def state_as_a_parameter():
    return here.submit(plus.submit(1, return_state=True)).result()


@case
def futures_returned():
    return [plus.submit(1), here.submit(2)]


@case
def as_they_complete():
    futures = [plus.submit(1), here.submit(7), here.submit(8)]
    return sorted(done.result() for done in as_completed(futures))


@case
def waited_for_together():
    found = wait([plus.submit(1), here.submit(2)])
    return sorted(one.result() for one in found.done), len(found.not_done)


@case
def order_only():
    first = here.submit(1)
    return plus.submit(2, wait_for=[first]).result(), here.submit(3, wait_for=[plus.submit(4)]).result()


@case
def quoted():
    return plus.submit(quote(5)).result(), here.submit(quote({"a": 1})).result()


@case
def nothing_and_falsy():
    @cloud
    def same(*values):
        return [None, *values]

    return same.submit(0, "", [], None).result()


@case
def every_kind_of_argument():
    @cloud
    def many(first, /, second, *rest, third, fourth=4, **more):
        return first, second, rest, third, fourth, more

    return many.submit(1, 2, 3, third=5, fifth=plus.submit(5)).result()


@case
def lambdas_and_closures():
    offset = 10
    return cloud(lambda x: x + offset, name="added").submit(1).result(), task(lambda x: x * offset).submit(2).result()


class Tool:
    def __init__(self, by):
        self.by = by

    @cloud
    def times(self, x):
        return self.by * x

    @classmethod
    def made(cls, x):
        return cls(x)

    @staticmethod
    @cloud
    def halved(x):
        return x / 2


@case
def methods():
    return Tool(3).times.submit(4).result(), Tool.halved.submit(4).result()


@case
def own_classes():
    @cloud
    def swapped(pair):
        return Pair(pair.right, pair.left)

    made = swapped.submit(Pair(1, 2)).result()
    return made.left, made.right, type(made) is Pair


@case
def other_options():
    renamed = plus.with_options(name="renamed", tags=["a"])
    return renamed.submit(1).result(), renamed.name


@case
def generators():
    @cloud
    def counted(n):
        yield from range(n)

    @task
    def up_to(n):
        yield from range(n)

    return list(counted.submit(3).result()), list(up_to.submit(2).result()), list(up_to(4))


@case
async def asynchronous_flow():
    @task
    async def later(x):
        await asyncio.sleep(0)
        return x + 1

    first = plus.submit(1)
    second = later.submit(first)
    return second.result(), await later(5)


@case
async def asynchronous_in_a_cloud():
    @cloud
    async def later(x):
        await asyncio.sleep(0)
        return x + 1

    return later.submit(1).result()


@case
def asynchronous_tasks_of_a_flow_that_is_not():
    @task
    async def later(x):
        return x + 1

    return later.submit(1).result(), later.map([1, 2]).result()


@case
def large_argument():
    @cloud
    def length(data):
        return len(data)

    return length.submit(b"x" * 3_000_000).result()


@case
def nested_tasks():
    @task
    def inner(x):
        return 2 * x

    @cloud
    def outer(x):
        return inner(x) + inner.submit(x).result()

    return outer.submit(3).result()


@case
def nested_submit_here():
    @task
    def outer(x):
        return here.submit(x).result() + 1

    return outer.submit(1).result()


@case
def children_of_a_wide_parent():
    @task
    def outer(x):
        return sum(here.map(range(x)).result())

    return outer.map([3, 4, 5]).result()


@case
def only_here():
    return [here.submit(1).result(), here.map([1, 2, 3]).result(), kind.submit({}).result()]
