"""How tasks end: errors and their types, retries, returned states, hooks, caches, transactions, limits."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter
from uuid import UUID

import prefect.runtime
from prefect import allow_failure, flow, get_run_logger, tags, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.transactions import transaction

from tests.prefect.same.cases import Mine, case, cloud, note

calls = Counter()
lock = threading.Lock()


def called(name):
    """How often a task that runs here has been called in this flow run."""
    with lock:
        calls[flow_run.id, name] += 1
        return calls[flow_run.id, name]


@cloud
def plus(x):
    return x + 1


@cloud
def fails(x=0):
    raise Mine(42, "bad")


@task
def here(value):
    return value


def seen(future):
    """What a future ends with, as a flow sees it."""
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        return type(error).__name__, str(error)


@case
def own_error():
    try:
        fails.submit().result()
    except Mine as error:
        return error.code, error.args


@case
def error_not_caught():
    fails.submit().result()


@case
def error_that_nobody_asks_for():
    fails.submit().wait()
    return 1


@case
def error_of_python():
    @cloud
    def by_zero():
        return 1 / 0

    return seen(by_zero.submit())


@case
def error_with_a_cause():
    @cloud
    def caused():
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("outer") from error

    try:
        caused.submit().result()
    except ValueError as error:
        return str(error)


@case
def error_as_a_value():
    found = fails.submit().result(raise_on_failure=False)
    return type(found).__name__, found.code


@case
def error_in_a_state():
    state = fails.submit(return_state=True)
    return state.name, state.message, state.result(raise_on_failure=False).code


@case
def error_upstream_of_a_cloud_task():
    after = plus.submit(fails.submit())
    after.wait()
    return after.state.name, after.state.type.value


@case
def error_upstream_of_a_task_here():
    after = here.submit(fails.submit())
    after.wait()
    return after.state.name


@case
def error_here_upstream_of_a_cloud_task():
    @task
    def breaks():
        raise Mine(1, "here")

    after = plus.submit(breaks.submit())
    after.wait()
    return after.state.name


@case
def error_allowed():
    @cloud
    def looks(error):
        return type(error).__name__, str(error)

    failed = fails.submit()
    return looks.submit(allow_failure(failed)).result(), here.submit(allow_failure(failed)).result().code


@case
def error_waited_for():
    after = plus.submit(1, wait_for=[fails.submit()])
    after.wait()
    return after.state.name, plus.submit(1, wait_for=[allow_failure(fails.submit())]).result()


@case
def error_of_one_that_is_mapped():
    @cloud
    def odd(x):
        if x % 2 == 0:
            raise ValueError(f"{x} is even")
        return x

    return [seen(future) for future in odd.map([1, 2])]


@case(retries=1)
def flow_tried_again():
    if called("flow") == 1:
        here.submit(1).wait()
        raise ValueError("once")
    return "twice"


@case
def retries_until_exhausted():
    return seen(fails.with_options(retries=1, name="again").submit())


@case
def retries_with_a_condition():
    def only_others(task, run, state):
        note(f"asked about {type(state.data).__name__}", run.flow_run_id)
        return not isinstance(state.data, Mine)

    return seen(fails.with_options(retries=2, retry_condition_fn=only_others).submit())


@case
def retries_here_until_it_works():
    @task(retries=2, retry_delay_seconds=0.01, retry_jitter_factor=0.1)
    def third():
        if called("third") < 3:
            raise ValueError("not yet")
        return "now"

    return third.submit().result()


@case
def returned_failure():
    @cloud
    def says_no():
        return Failed(message="no")

    future = says_no.submit()
    future.wait()
    return future.state.name, future.state.message


@case
def returned_failure_and_retries():
    @cloud(retries=1)
    def says_no():
        return Failed(message="no")

    future = says_no.submit()
    future.wait()
    return future.state.name, future.state.message


@case
def returned_success():
    @cloud
    def says_yes():
        return Completed(message="yes", name="Fine")

    future = says_yes.submit()
    future.wait()
    return future.state.name, future.state.message


@case
def returned_failure_of_the_flow():
    return Failed(message=f"after {plus.submit(1).result()}")


@case
def hooks():
    def when(what):
        return lambda task, run, state: note(f"{what} {state.name} {task.name}", run.flow_run_id)

    watched = {"on_completion": [when("completed")], "on_failure": [when("failed")], "on_running": [when("running")]}
    plus.with_options(**watched).submit(1).wait()
    fails.with_options(**watched, retries=1).submit().wait()


@case
def hook_that_asks_for_the_value():
    def ask(task, run, state):
        note(f"value {state.result()}", run.flow_run_id)

    return plus.with_options(on_completion=[ask]).submit(1).result()


@case
def callback():
    future = plus.submit(1)
    run = UUID(flow_run.id)
    told = threading.Event()

    def tell(done):
        note(f"done, with {done.result()}", run)
        told.set()

    future.add_done_callback(tell)
    return future.result(), told.wait(60)


@case
def cached_by_inputs():
    once = plus.with_options(cache_policy=INPUTS, persist_result=True, name="by inputs")
    first = once.submit(here.submit(8))
    first.wait()
    second = once.submit(8)
    second.wait()
    return first.result(), second.result(), second.state.name


@case
def cached_with_the_value_of_a_cloud_task_as_input():
    once = plus.with_options(cache_policy=INPUTS, persist_result=True, name="by value")
    first = once.submit(plus.submit(20))
    first.wait()
    second = once.submit(21)
    second.wait()
    return first.state.name, second.result(), second.state.name


@case
def cached_by_a_key_function():
    def key(context, parameters):
        note(f"key of {parameters['x']!r}")
        return f"{flow_run.id}-{parameters['x']}"

    once = plus.with_options(cache_key_fn=key, persist_result=True, cache_expiration=datetime.timedelta(hours=1))
    first = once.submit(1)
    first.wait()
    return [first.result(), once.submit(1).result(), once.submit(1, return_state=True).name]


@case
def not_cached():
    twice = here.with_options(cache_policy=NO_CACHE, persist_result=True)
    return twice.submit(1).result(), twice.submit(1, return_state=True).name


@case
def refreshed():
    once = here.with_options(cache_policy=INPUTS, persist_result=True, name="refreshed")
    once.submit(1).wait()
    return once.with_options(refresh_cache=True).submit(1, return_state=True).name


@case
def persisted():
    kept = plus.with_options(persist_result=True, name="kept", cache_policy=NO_CACHE).submit(1)
    kept.wait()
    return kept.state.data.is_persisted, kept.result()


@case
def persisted_failure():
    future = fails.with_options(persist_result=True, name="kept failure").submit()
    future.wait()
    return future.state.name, future.state.result(raise_on_failure=False).code


@case
def undone():
    undoing = plus.with_options(name="undoing")

    @undoing.on_rollback
    def undo(txn):
        note("undone")

    @undoing.on_commit
    def keep(txn):
        note("committed")

    with transaction():
        undoing.submit(1).wait()
        undoing(1)
        raise ValueError("undo it")


@case
def named_by_what_it_is_given():
    return plus.with_options(task_run_name="plus one of {x}").submit(here.submit(1)).result()


@case
def named_by_a_function():
    def name():
        return f"called {prefect.runtime.task_run.parameters['x']}"

    return plus.with_options(task_run_name=name).submit(5).result()


@case
def tagged():
    with tags("outer"):
        future = plus.with_options(tags=["inner"]).submit(1)
    return future.result()


@case
def one_at_a_time_by_a_tag():
    with get_client(sync_client=True) as client:
        client.create_concurrency_limit(tag="one-at-a-time", concurrency_limit=1)

    @cloud(tags=["one-at-a-time"])
    def takes_a_while(_):
        begun = time.time()
        time.sleep(4)
        return begun, time.time()

    (_, first_end), (second_begin, _) = sorted(takes_a_while.map([1, 2]).result())
    return first_end <= second_begin


@case
def said_in_the_log():
    @cloud(log_prints=True)
    def says():
        print("user: printed")
        get_run_logger().info("user: told %s", 1)
        get_run_logger().warning("user: warned")
        return 1

    get_run_logger().info("user: the flow")
    return says.submit().result()


@case(log_prints=True)
def said_here():
    @task
    def says():
        print("user: printed here")
        get_run_logger().error("user: an error")

    says.submit().wait()
    print("user: by the flow")


@case
def timed_out_here():
    @task(timeout_seconds=0.2)
    async def sleeps():
        import asyncio

        await asyncio.sleep(60)

    future = sleeps.submit()
    future.wait()
    return future.state.name, future.state.type.value


@case(timeout_seconds=120)
def flow_with_a_time_out():
    return plus.submit(1).result()


@case
def waits_only_so_long():
    release = threading.Event()

    @task
    def waits():
        release.wait(60)
        return 1

    future = waits.submit()
    try:
        future.result(timeout=0.1)
    except TimeoutError:
        note("not yet")
    release.set()
    return future.result()


@case
def starts_before_it_is_asked_for():
    started = threading.Event()

    @task
    def starts():
        started.set()

    future = starts.submit()
    early = started.wait(60)
    future.wait()
    return early


@case
def not_waited_for():
    here.submit(1)
    time.sleep(0.2)
    return 2


@case
def subflow_that_fails():
    @flow(name="broken")
    def broken():
        fails.submit().result()

    state = broken(return_state=True)
    return state.name, type(state.result(raise_on_failure=False)).__name__


@case
def subflow_with_tasks_of_its_own():
    @flow(name="inner")
    def inner(x):
        return plus.submit(x).result()

    return inner(plus.submit(1))


@case
def nothing_at_all():
    return None


@case
def flow_that_raises():
    here.submit(1).wait()
    raise Mine(7, "the flow")


@case
def wrong_arguments():
    try:
        plus.submit(1, 2, 3)
    except TypeError as error:
        return type(error).__name__


@case
def error_of_another_kind_in_a_map_is_not_lost():
    @task
    def picky(x):
        if x == 1:
            raise KeyError(x)
        return x

    return [seen(one) for one in picky.map([0, 1, 2])]


@case
def runs_know_their_parameters():
    @task
    def knows(x):
        return prefect.runtime.task_run.parameters["x"], prefect.runtime.task_run.task_name

    return knows.submit(here.submit(3)).result()
