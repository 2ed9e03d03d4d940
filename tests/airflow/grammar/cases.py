"""Small DAGs, each for one piece of Airflow's grammar. A case builds its tasks from a :class:`Kit`; the task ``result``
is compared between the DAG of Sky tasks and that of plain ones, and so are the states of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule, get_current_context, literal, setup, task, task_group, teardown
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sky_airflow.operators.sky import SkyOperator
from tests.airflow.grammar.kit import SMALL, Kit

CASES: dict[str, tuple[Callable[[Kit], Any], dict[str, Any]]] = {}
SKY_ONLY: dict[str, Any] = {}  # what plain tasks cannot do, with the result it has to have
ALIKE: set[str] = set()
SECRET = "opensesame"
# Each way by which values go from task to task, and each way to end; the others prove variations of these.
FEW = ("map_reduce", "several_results_one_taken", "a_large_value_mapped_over", "values_that_json_has_not",
       "mapped_commands", "a_commands_output_in_a_function", "a_secret_from_the_dag", "expand_kwargs_of_a_task",
       "a_branch_joined", "skipped_by_the_function", "failed_for_good_by_the_function",
       "the_context_by_name")  # fmt: skip


def sky_only(result: Any, **dag: Any) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    """Register a case that Airflow's own tasks fail at."""

    def register(build: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
        SKY_ONLY[build.__name__] = result
        CASES[build.__name__] = (build, dag)
        return build

    return register


def case(**dag: Any) -> Callable[[Callable[[Kit], Any]], Callable[[Kit], Any]]:
    """Register a case; ``dag`` are its DAG's arguments."""

    def register(build: Callable[[Kit], Any]) -> Callable[[Kit], Any]:
        CASES[build.__name__] = (build, dag)
        ALIKE.add(build.__name__)
        return build

    return register


# --- values ---------------------------------------------------------------------------------------------------------


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
    @task
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


# --- mapping --------------------------------------------------------------------------------------------------------


@case()
def partial_and_expand(kit):
    add = kit.function(lambda x, y: x + y, task_id="add")
    kit.result(add.partial(y=10).expand(x=[1, 2]))


@case()
def expand_two(kit):
    kit.result(kit.function(lambda x, y: x * y, task_id="times").expand(x=[2, 3], y=[5, 7]))


@case()
def expand_kwargs_of_a_task(kit):
    @task
    def made():
        return [{"x": 1, "y": 2}, {"x": 3, "y": 4}]

    kit.result(kit.function(lambda x, y: x + y, task_id="add").expand_kwargs(made()))


@case()
def zipped_and_mapped(kit):
    ones = task(lambda: [1, 2], task_id="ones")()
    twos = task(lambda: [10, 20], task_id="twos")()
    add = kit.function(lambda pair: pair[0] + pair[1], task_id="add")
    kit.result(add.expand(pair=ones.zip(twos).map(lambda pair: (pair[0] * 2, pair[1]))))


@case()
def concatenated(kit):
    ones = kit.function(lambda: [1], task_id="ones")()
    twos = task(lambda: [2], task_id="twos")()
    kit.result(kit.function(lambda x: x + 1, task_id="add").expand(x=ones.concat(twos)))


@case()
def mapped_over_what_was_mapped(kit):
    first = kit.function(lambda x: x + 1, task_id="first").expand(x=[1, 2])
    kit.result(kit.function(lambda x: x * 10, task_id="second").expand(x=first))


@case()
def a_mapped_group(kit):
    inc = kit.function(lambda x: x + 1, task_id="inc")
    twice = kit.function(lambda x: x * 2, task_id="twice")

    @task_group
    def both(x):
        return twice(inc(x))

    kit.result(kit.function(lambda xs: sorted(xs), task_id="all")(both.expand(x=[1, 2])))


@case()
def mapped_over_nothing(kit):
    made = task(lambda: [], task_id="made")()
    kit.result(kit.function(lambda x: x, task_id="each").expand(x=made))


@case()
def mapped_commands(kit):
    parts = kit.command(
        "part",
        run=None,
        outputs={"o": {"size_gb": 0.001}},
    ).expand(run=["echo 1 > $SKY_OUTPUT_O", "echo 2 > $SKY_OUTPUT_O"])
    join = kit.command(
        "join", "cat $SKY_INPUT_PARTS/0 $SKY_INPUT_PARTS/1 | paste -sd+ > $SKY_OUTPUT_SUM",
        inputs={"parts": kit.output(parts, "o")}, outputs={"sum": {}},
    )  # fmt: skip
    kit.result(kit.output(join, "sum"))


@case()
def mapped_needs_from_a_task(kit):
    needs = task(lambda: [{**SMALL}, {**SMALL, "use_spot": True}], task_id="needs")()
    run = "echo 0 > $SKY_OUTPUT_O"
    if kit.sky:
        made = SkyOperator.partial(task_id="each", run=run, outputs={"o": {}}).expand(requires=needs)
    else:
        made = kit.command("each", outputs={"o": {}}).expand(run=needs.map(lambda _: run))
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o")))


# --- commands -------------------------------------------------------------------------------------------------------


@case(params={"word": "hello"})
def templates_in_a_command(kit):
    made = kit.command(
        "made", "echo {{ params.word }} $A > $SKY_OUTPUT_O", envs={"A": "{{ params.word }}"}, outputs={"o": {}}
    )
    kit.result(kit.output(made, "o"))


@case()
def a_plain_tasks_values_in_a_command(kit):
    @task(multiple_outputs=True)
    def said():
        return {"run": "echo $A > $SKY_OUTPUT_O", "envs": {"A": "1"}}

    both = said()
    kit.result(kit.output(kit.command("made", both["run"], envs=both["envs"], outputs={"o": {}}), "o"))


@case()
def one_output_handed_on_whole(kit):
    made = kit.command("made", "echo 4 > $SKY_OUTPUT_O", outputs={"o": {}})
    use = kit.command("use", "cat $SKY_INPUT_X > $SKY_OUTPUT_O", inputs={"x": made.output}, outputs={"o": {}})
    kit.result(use.output)


@case()
def a_commands_output_in_a_function(kit):
    made = kit.command("made", "echo 4 > $SKY_OUTPUT_O", outputs={"o": {}})
    read = kit.function(lambda path, more: int(open(path).read()) + more[0], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o"), more=[3]))


@case()
def a_secret_from_the_dag(kit):
    made = kit.command("made", "printf %s $TOKEN | wc -c > $SKY_OUTPUT_O", secrets={"TOKEN": "{{ 'open' ~ 'sesame' }}"},
                       outputs={"o": {}})  # fmt: skip
    kit.result(kit.output(made, "o"))


@case()
def quotes_and_lines_in_a_command(kit):
    made = kit.command("made", """
        cat > $SKY_OUTPUT_O <<'END'
a "b" 'c' $D {% raw %}{{ e }}{% endraw %}
END
        """, outputs={"o": {}})  # fmt: skip
    kit.result(kit.output(made, "o"))


@case()
def commands_by_kwargs(kit):
    made = kit.command("made", outputs={"o": {}}).expand_kwargs(
        [{"run": "echo $A > $SKY_OUTPUT_O", "envs": {"A": "1"}}, {"run": "echo 2 > $SKY_OUTPUT_O"}]
    )
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o")))


@case()
def odd_task_ids(kit):
    a = kit.function(lambda: 1, task_id="01_extract.all")()
    kit.result(kit.function(lambda x: x + 1, task_id="x" * 200)(a))


# --- order, branches, ends ------------------------------------------------------------------------------------------


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
