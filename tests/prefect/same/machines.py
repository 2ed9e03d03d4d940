"""What functions find on their machine: it is to be what they would find in a thread of the flow's process."""

from __future__ import annotations

import json
from contextvars import ContextVar
from functools import lru_cache, singledispatch
from importlib.resources import files
from pathlib import Path

from prefect import get_run_logger, task
from prefect.blocks.system import Secret
from prefect.context import FlowRunContext, TaskRunContext, get_run_context
from prefect.transactions import get_transaction, transaction
from pydantic import SecretStr

from tests.prefect.same.cases import Mine, case, cloud, note

HERE = Path(__file__).parent
TENANT = ContextVar("tenant", default="nobody")


@lru_cache
def words():
    return json.loads((HERE / "data" / "words.json").read_text())


@singledispatch
def said(value):
    return str(value)


@said.register(list)
def said_of_a_list(value):
    return [said(each) for each in value]


@task
def here(value):
    return value


def chain_of(error):
    """What an error was raised from, and while handling what."""
    found = []
    while error is not None:
        found.append((type(error).__name__, str(error), error.__suppress_context__))
        error = error.__cause__ or error.__context__
    return found


@case
def errors_with_what_they_were_raised_from():
    @cloud
    def outer(how):
        try:
            try:
                raise Mine(1, "deep")
            except Mine:
                {}["x"]
        except KeyError as error:
            if how == "from":
                raise ValueError("outer") from error
            if how == "alone":
                raise ValueError("outer") from None
            raise ValueError("outer")  # noqa: B904 - that is one of the ways

    errors = [one.result(raise_on_failure=False) for one in outer.map(["from", "alone", "while"])]
    return [chain_of(error) for error in errors], [error.__cause__ is None for error in errors]


@case
def logged_at_levels_of_ones_own_and_with_tracebacks():
    @cloud
    def says():
        log = get_run_logger()
        log.log(25, "user: between\nINFO and WARNING")
        try:
            1 / 0  # noqa: B018 - it raises
        except ZeroDivisionError:
            log.exception("user: caught")

    @cloud
    def fails():
        get_run_logger().info("user: before")
        raise Mine(1, "bad")

    says.submit().wait()
    fails.submit().wait()
    return 1


@case
def files_beside_the_module():
    @cloud
    def reads():
        from tests.prefect.same import cases

        text = files("tests.prefect.same").joinpath("data", "words.json").read_text()
        return words()["a"], text, Path(__file__).name, cases.SMALL["cloud"]

    return reads.submit().result()


@case
def functions_that_look_at_types_and_variables_of_the_context():
    @cloud
    def says(values):
        return TENANT.get(), said(values)

    before = says.submit([1])
    TENANT.set("acme")
    return before.result(), says.submit(["a", [2]]).result()


@case
def secrets_that_are_given():
    @cloud
    def uses(block, given):
        password = given["password"]
        return block.get(), password.get_secret_value(), str(password), repr(password), isinstance(block, Secret)

    return uses.submit(Secret(value='{"a": 1}'), {"password": SecretStr("word")}).result()


@case
def the_run_s_context():
    @cloud(tags=["a"], name="knows")
    def knows(x):
        here, flow = get_run_context(), FlowRunContext.get()
        assert isinstance(here, TaskRunContext)
        assert here.task_run.flow_run_id == flow.flow_run.id
        return here.task.name, here.task_run.tags, here.parameters, here.task_run.run_count, flow.flow.name

    return knows.submit(here.submit(3)).result()


@case
def what_a_transaction_is_told():
    @cloud
    def writes():
        get_transaction().set("written", {"rows": [1, 2]})
        return get_transaction().get("written")

    @writes.on_rollback
    def undo(txn):
        note(f"undone: {txn.get('written')}")

    with transaction():
        note(f"wrote {writes.submit().result()}")
        writes()
        raise ValueError("undo it")
