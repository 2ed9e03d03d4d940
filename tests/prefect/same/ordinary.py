"""What people's own flows do beside: assets, serializers, enumerations, loops until it is good enough, wide results."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from pathlib import PurePosixPath

from prefect import flow, task
from prefect.assets import materialize
from prefect.cache_policies import INPUTS, TASK_SOURCE
from prefect.exceptions import MappingLengthMismatch
from prefect.tasks import exponential_backoff

from sky_prefect import resources
from tests.prefect.same.cases import SMALL, case, cloud, note


class Grade(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@cloud
def grade(x):
    return Grade.GOOD if x > 1 else Grade.BAD


@cloud
def halved(x):
    return x / 2


@case
def enumerations_keep_their_identity():
    made = grade.map([1, 2])
    return [one.result() is wanted for one, wanted in zip(made, (Grade.BAD, Grade.GOOD), strict=True)]


@case
def an_asset():
    @materialize("s3://same/numbers.csv")
    @resources(**SMALL)
    def numbers():
        return [1, 2, 3]

    @task
    def counted(values):
        return len(values)

    return counted.submit(numbers.submit()).result()


@case
def kept_as_json_under_a_name():
    @cloud(persist_result=True, result_serializer="json", result_storage_key="same-{parameters[x]}.json")
    def kept(x):
        return {"x": x, "list": (1, 2)}

    future = kept.submit(3)
    future.wait()
    return future.result(), PurePosixPath(future.state.data.metadata.storage_key).name, future.state.data.is_persisted


@case
def cached_but_for_one_input():
    once = halved.with_options(name="once", cache_policy=TASK_SOURCE + INPUTS, persist_result=True)

    @cloud(cache_policy=INPUTS - "verbose", persist_result=True)
    def told(x, verbose):
        return x, verbose

    first = told.submit(1, True)
    first.wait()
    second = told.submit(1, False)
    second.wait()
    return first.result(), second.result(), second.state.name, once.submit(4).result()


@case
def until_it_is_good_enough():
    value, rounds = 5.0, 0
    while value > 2:
        value, rounds = halved.submit(value).result(), rounds + 1
    return value, rounds


@case
def retries_that_back_off():
    @cloud(retries=2, retry_delay_seconds=exponential_backoff(backoff_factor=0.01), retry_jitter_factor=0.1)
    def unwell(x):
        raise OSError(5, f"no disk for {x}")

    try:
        unwell.submit(1).result()
    except OSError as error:
        return error.errno, error.strerror


@case
def maps_that_are_odd():
    try:
        halved.map([1, 2], [3])
    except (MappingLengthMismatch, TypeError) as error:
        note(type(error).__name__)
    states = halved.map((n for n in (2, 4)), return_state=True)
    return halved.map([]).result(), [state.result() for state in states]


@case
def plain_python_values():
    @cloud
    def back(*values):
        return values

    given = Decimal("1.10"), datetime.date(2026, 1, 2), PurePosixPath("/a/b"), frozenset({1}), b"\x00", 1j, {(1, 2): 3}
    return back.submit(*given).result() == given


@case
def futures_in_what_a_flow_returns():
    @flow(name="gives")
    def gives(x):
        return {"half": halved.submit(x).result(), "whole": x}

    return {"first": gives(3), "second": [halved.submit(8).result()]}


@case
async def an_asynchronous_flow_that_maps():
    found = halved.map([1, 2])
    return [one.result() for one in found], all(one.state.is_completed() for one in found)
