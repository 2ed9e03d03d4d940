"""Tasks that are mapped."""

from datetime import timedelta

from airflow.sdk import task, task_group
from airflow.sdk.exceptions import AirflowSkipException

from sky_airflow.operators.sky import SkyOperator
from tests.airflow.grammar.kit import SMALL
from tests.airflow.grammar.registry import case


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
    parts = kit.mapped("part", outputs={"o": {"size_gb": 0.001}}).expand(
        run=["echo 1 > $SKY_OUTPUT_O", "echo 2 > $SKY_OUTPUT_O"]
    )
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


@case()
def expand_a_mapping(kit):
    kit.result(kit.function(lambda pair: list(pair), task_id="each").expand(pair={"a": 1, "b": 2}))


@case()
def expand_a_tasks_mapping(kit):
    made = kit.function(lambda: {"a": 1, "b": 2}, task_id="made")()
    kit.result(kit.function(lambda pair: list(pair), task_id="each").expand(pair=made))


@case()
def expand_results_side_by_side(kit):
    inc = kit.function(lambda x: x + 1, task_id="inc")
    kit.result(kit.function(lambda x, y: [x, y], task_id="each").expand(x=[inc(1), inc(2)], y=["a"]))


@case()
def kwargs_with_results_in_them(kit):
    one = kit.function(lambda: 1, task_id="one")()
    kit.result(kit.function(lambda x, y=0: x + y, task_id="add").expand_kwargs([{"x": one, "y": 2}, {"x": 5}]))


@case()
def zipped_with_a_filling(kit):
    ones = kit.function(lambda: [1, 2, 3], task_id="ones")()
    twos = task(lambda: [10], task_id="twos")()
    kit.result(kit.function(lambda pair: sum(pair), task_id="add").expand(pair=ones.zip(twos, fillvalue=0)))


@case()
def skipped_while_mapped(kit):
    def even(x):
        if x % 2:
            raise AirflowSkipException(f"{x} is odd")
        return x * 10

    numbers = kit.function(lambda: [1, 2, 4], task_id="numbers")()
    each = kit.function(lambda x: x, task_id="each").expand(x=numbers.map(even))
    kit.result(kit.function(lambda xs: list(xs), task_id="all", trigger_rule="all_done")(each))


@case()
def a_function_skips_some(kit):
    @kit.function
    def each(x):
        if x == 2:
            raise AirflowSkipException("two")
        return x

    total = kit.function(lambda xs: sum(x for x in xs if x), task_id="total", trigger_rule="none_failed")
    kit.result(total(each.expand(x=[1, 2, 3])))


@case()
def each_command_reads_its_own(kit):
    made = kit.command("made", outputs={"o": {}}).expand(run=[f"echo {n} > $SKY_OUTPUT_O" for n in (1, 2)])
    given = kit.each(made, "o").map(lambda one: {"x": one})
    use = kit.mapped("use", run="echo $(cat $SKY_INPUT_X)0 > $SKY_OUTPUT_O", outputs={"o": {}})
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(use.expand(inputs=given), "o")))


@case()
def each_function_reads_its_own(kit):
    made = kit.command("made", outputs={"o": {}}).expand(run=[f"echo {n} > $SKY_OUTPUT_O" for n in (1, 2)])
    read = kit.function(lambda path: int(open(path).read()) + 1, task_id="read")  # noqa: SIM115
    kit.result(read.expand(path=kit.each(made, "o")))


@case()
def envs_mapped(kit):
    made = kit.mapped("made", run="echo $A > $SKY_OUTPUT_O", outputs={"o": {}}).expand(envs=[{"A": "1"}, {"A": "2"}])
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o")))


@case()
def needs_of_a_function_from_a_task_while_it_is_mapped(kit):
    needs = task(lambda: {**SMALL}, task_id="needs")()
    kit.result(kit.function(lambda x: x, task_id="each", requires=needs).expand(x=[1, 2]))


@case(params={"n": 2})
def a_template_in_a_partial(kit):
    made = kit.mapped("made", run="echo {{ params.n }}$A > $SKY_OUTPUT_O", outputs={"o": {}})
    made = made.expand(envs=[{"A": "{{ params.n }}"}])
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o")))


@case()
def the_index_by_template(kit):
    kit.result(
        kit.function(lambda x, n: [x, int(n)], task_id="each", map_index_template="{{ task.op_kwargs['x'] }}")
        .partial(n="{{ ti.map_index }}").expand(x=["a", "b"])
    )  # fmt: skip


@case()
def a_mapped_group_of_commands(kit):
    @task_group
    def both(word):
        first = kit.command("first", "echo $A > $SKY_OUTPUT_O", envs={"A": word}, outputs={"o": {}})
        second = kit.command(
            "second", "cat $SKY_INPUT_X > $SKY_OUTPUT_O", inputs={"x": kit.output(first, "o")}, outputs={"o": {}}
        )
        return kit.output(second, "o")

    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(both.expand(word=["a", "b"])))


@case()
def a_mapped_group_over_a_task(kit):
    @task_group
    def each(item):
        return kit.function(lambda item: f"{item['name']}{item['n']}", task_id="show")(item)

    items = kit.function(lambda: [{"n": 1, "name": "a"}, {"n": 2, "name": "b"}], task_id="items")()
    kit.result(kit.function(lambda xs: list(xs), task_id="all")(each.expand(item=items)))


@case()
def a_mapped_group_by_kwargs(kit):
    @task_group
    def each(x, y):
        return kit.function(lambda x, y: x * y, task_id="times")(x, y)

    kit.result(
        kit.function(lambda xs: list(xs), task_id="all")(each.expand_kwargs([{"x": 1, "y": 2}, {"x": 3, "y": 4}]))
    )


@case()
def all_of_a_group_over_nothing(kit):
    @task_group
    def each(x):
        return kit.function(lambda x: x, task_id="show")(x)

    nothing = task(lambda: [], task_id="nothing")()
    last = kit.function(lambda: "last", task_id="last", trigger_rule="none_failed")()
    each.expand(x=nothing) >> last
    kit.result(last)


@case(default_args={"retries": 1, "retry_delay": timedelta(0)})
def a_mapped_one_is_tried_again(kit):
    @kit.function
    def each(x, tries):
        if x == 2 and int(tries) < 2:
            raise ValueError("again")
        return x

    kit.result(each.partial(tries="{{ ti.try_number }}").expand(x=[1, 2]))


@case()
def one_at_a_time(kit):
    kit.result(kit.function(lambda x: x, task_id="each", max_active_tis_per_dagrun=1).expand(x=[3, 1]))


@case()
def three_stages(kit):
    numbers = kit.function(lambda: [1, 2], task_id="numbers")()
    squared = kit.function(lambda x: x * x, task_id="square").expand(x=numbers)
    paired = kit.function(lambda xs: [list(xs), list(xs)], task_id="pair")(squared)
    kit.result(kit.function(lambda xs, ys: len(xs) + ys, task_id="end").partial(ys=1).expand(xs=paired))


@case()
def mapped_zipped_and_joined_results_as_a_whole(kit):
    made = kit.function(lambda x: [x] * 9_000, task_id="made").expand(x=[1, 2])
    few = task(lambda: [5, 6], task_id="few")()
    use = kit.function(lambda a, b, c: [[len(x) for x in a], [list(x)[1] for x in b], len(c)], task_id="use")
    kit.result(use(made.map(lambda one: one), b=made.zip(few), c=few.concat(few)))


@case()
def outputs_made_into_mappings_as_a_whole(kit):
    made = kit.command("made", outputs={"o": {}}).expand(run=[f"echo {n} > $SKY_OUTPUT_O" for n in (1, 2)])
    use = kit.function(lambda said: [open(one["path"]).read() for one in said], task_id="use")  # noqa: SIM115
    kit.result(use(kit.each(made, "o").map(lambda one: {"path": one})))
