"""Order, branches, and the ways to end."""

from datetime import timedelta

from airflow.sdk import TriggerRule, get_current_context, setup, task, teardown
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.airflow.grammar.registry import case


@case()
def a_branch_joined(kit):
    @task.branch
    def choose():
        return "left"

    left = kit.function(lambda: "left", task_id="left")()
    right = kit.function(lambda: "right", task_id="right")()
    choose() >> [left, right]
    joined = kit.function(lambda a, b: [a, b], task_id="join", trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    kit.result(joined(left, right))


@case()
def an_input_whose_task_was_skipped(kit):
    skipped = kit.command("skipped", "exit 99", outputs={"o": {}})
    there = kit.command("there", "echo 1 > $SKY_OUTPUT_O", outputs={"o": {}})
    given = {"b": kit.output(there, "o")}
    if kit.sky:  # a plain task would fail: XCom has no such key
        given["a"] = kit.output(skipped, "o")
    join = kit.command(
        "join", 'echo "${SKY_INPUT_A:-none} $(cat $SKY_INPUT_B)" > $SKY_OUTPUT_O', inputs=given, outputs={"o": {}},
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )  # fmt: skip
    skipped >> join
    kit.result(kit.output(join, "o"))


@case()
def a_short_circuit(kit):
    @task.short_circuit
    def enough():
        return False

    after = kit.function(lambda: 1, task_id="after")()
    enough() >> after
    kit.result(after)


@case()
def skipped_by_the_function(kit):
    @kit.function
    def skips():
        raise AirflowSkipException("nothing to do")

    @kit.function(trigger_rule="all_done")
    def after(x):
        return x

    kit.result(after(skips()))


@case()
def failed_for_good_by_the_function(kit):
    @kit.function(retries=3, retry_delay=timedelta(0))
    def fails():
        raise AirflowFailException("no use")

    kit.result(kit.function(lambda x: x, task_id="after", trigger_rule="all_done")(fails()))


@case()
def an_error_of_its_own(kit):
    @kit.function
    def fails():
        raise KeyError("x")

    kit.result(kit.function(lambda x: x, task_id="after")(fails()))


@case()
def one_of_many_fails(kit):
    @kit.function
    def each(x):
        return 1 // x

    kit.result(kit.function(lambda xs: list(xs), task_id="some", trigger_rule="all_done")(each.expand(x=[0, 1])))


@case()
def setup_and_teardown(kit):
    made = setup(kit.function(lambda: "cluster", task_id="made"))()
    gone = teardown(kit.function(lambda name: name, task_id="gone"))(made)
    with gone:
        work = kit.function(lambda: 1 // 0, task_id="work")()
    kit.result(work)


@case()
def groups_and_labels(kit):
    from airflow.sdk import Label, TaskGroup

    with TaskGroup("outer"), TaskGroup("inner"):
        a = kit.function(lambda: 1, task_id="a")()
        b = kit.function(lambda: 2, task_id="b")()
        a >> Label("then") >> b
    kit.result(kit.function(lambda x, y: x + y, task_id="add")(a, b))


@case()
def a_function_called_twice(kit):
    inc = kit.function(lambda x: x + 1, task_id="inc")
    kit.result(inc(inc(inc.override(task_id="first")(0))))


@case()
def a_plain_task_between(kit):
    made = kit.function(lambda: [1, 2, 3], task_id="made")()
    kit.result(kit.function(lambda n: n * 2, task_id="twice")(task(lambda xs: len(xs), task_id="count")(made)))


@case(default_args={"retries": 1, "retry_delay": timedelta(0)})
def tried_again(kit):
    @kit.function
    def counts(tries):
        if int(tries) < 2:
            raise ValueError("again")
        return "at last"

    kit.result(counts("{{ ti.try_number }}"))


@case()
def context_only_of_the_plain_task(kit):
    @task
    def where():
        return get_current_context()["ti"].task_id

    kit.result(kit.function(lambda name: name.upper(), task_id="use")(where()))
