"""DAGs as people wrote them before: classes of their own, no ``with``, factories, the operators of everyday."""

import functools
import os
from datetime import timedelta
from typing import NamedTuple, TypedDict

from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.sdk import Context, chain_linear, cross_downstream, task, task_group
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.operators.sky import SkyOperator
from tests.airflow.grammar.kit import NEEDS, SMALL, PlainCommand
from tests.airflow.grammar.registry import case, sky_only

WRITE = "echo {} > $SKY_OUTPUT_O"
OUT = {"outputs": {"o": {}}}


def _own_class(kit):
    kind = SkyOperator if kit.sky else PlainCommand

    class Greet(kind):
        """As teams have them: fields of its own, ours made of them, something before and after."""

        template_fields = (*kind.template_fields, "who")

        def __init__(self, *, who, mark="!", size="small", **kwargs):
            needs = {**NEEDS, "requires": {**SMALL, "instance_type": f"t3.{size}"}} if kit.sky else {}
            super().__init__(run=f"echo hello {who}{mark} > $SKY_OUTPUT_O", outputs={"o": {}}, **needs, **kwargs)
            self.who = who

        def execute(self, context):
            self.run += "; echo and more >> $SKY_OUTPUT_O"
            return super().execute(context)

    return Greet


@case(params={"who": "me"})
def a_class_of_ones_own(kit):
    greet = _own_class(kit)(task_id="greet", who="{{ params.who }}")
    read = kit.function(lambda path: open(path).read(), task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(greet, "o")))


@case()
def a_class_of_ones_own_mapped(kit):
    names = task(lambda: ["a", "b"], task_id="names")()
    kind = _own_class(kit)
    written = kind.partial(task_id="written", mark="?").expand_kwargs(
        [{"who": "x", "size": "small"}, {"who": "y", "size": "medium"}]
    )
    given = kind.partial(task_id="given").expand(who=names)
    read = kit.function(lambda *paths: [open(path).read() for each in paths for path in each], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(written, "o"), kit.output(given, "o")))


@case()
def a_class_that_sets_its_fields_late(kit):
    kind = SkyOperator if kit.sky else PlainCommand

    class Late(kind):
        def __init__(self, *, word, **kwargs):
            super().__init__(**kwargs)
            self.run = f"echo {word} > $SKY_OUTPUT_O"

    made = Late(task_id="made", word="late", outputs={"o": {}}, **(NEEDS if kit.sky else {}))
    kit.result(kit.output(made, "o"))


@case()
def without_a_with(kit):
    made = {name: kit.command(name, WRITE.format(name), dag=kit.dag, **OUT) for name in "abcd"}
    cross_downstream([made["a"], made["b"]], [made["c"], made["d"]])
    last = kit.function(lambda *paths: [open(path).read() for path in paths], task_id="last")  # noqa: SIM115
    said = last(kit.output(made["c"], "o"), kit.output(made["d"], "o"))
    made["a"].set_upstream(kit.command("first", "true", dag=kit.dag))
    kit.result(said)


@case()
def made_from_a_table(kit):
    table = {
        "extract": {"run": WRITE.format("rows"), "after": []},
        "clean": {"run": "tr a-z A-Z < $SKY_INPUT_EXTRACT > $SKY_OUTPUT_O", "after": ["extract"]},
        "report": {"run": "cat $SKY_INPUT_EXTRACT $SKY_INPUT_CLEAN > $SKY_OUTPUT_O", "after": ["extract", "clean"]},
    }
    made = {}
    for name, row in table.items():
        given = {before: kit.output(made[before], "o") for before in row["after"]}
        made[name] = kit.command(name, row["run"], inputs=given, doc_md=f"# {name}", **OUT)
    kit.result(kit.output(made["report"], "o"))


@case()
def everyday_operators_around(kit):
    made = kit.function(lambda: {"n": 4}, task_id="made")()
    told = PythonOperator(task_id="told", python_callable=lambda said, more: said["n"] + more,
                          op_kwargs={"said": made, "more": 1})  # fmt: skip
    go_on = ShortCircuitOperator(task_id="go_on", python_callable=lambda n: n == 5, op_args=[told.output])
    choose = BranchPythonOperator(task_id="choose", python_callable=lambda: ["left", "both"])
    left, right = (kit.function(lambda: 1, task_id=name)() for name in ("left", "right"))
    both = kit.function(lambda a, b: [a, b], task_id="both", trigger_rule="none_failed_min_one_success")(left, right)
    chain_linear(go_on, LatestOnlyOperator(task_id="latest"), choose, [left, right, both])
    kit.result(both)


@case()
def said_by_bash(kit):
    made = kit.function(lambda: [1, 2], task_id="made")()

    @task.bash(env={"LAST": "{{ ti.xcom_pull(task_ids='made')[-1] }}"}, append_env=True)
    def counted(numbers):
        return f"echo {len(numbers)}$LAST"

    kit.result(kit.function(lambda text: int(text) + 1, task_id="use")(counted(made)))


@case()
def exceptions_imported_inside(kit):
    @kit.function
    def skips():
        from airflow.sdk.exceptions import AirflowSkipException

        raise AirflowSkipException("nothing to do")

    @kit.function(retries=2, retry_delay=timedelta(0))
    def fails():
        raise AirflowFailException("no use")

    after = kit.function(lambda a, b: [a, b], task_id="after", trigger_rule="all_done")
    kit.result(after(skips(), fails()))


@case(params={"n": 3})
def airflows_types_as_annotations(kit):
    def use(x: int, params: Context | None = None, **context: Context) -> list[int]:
        return [x, params["n"], len(context["ds"])]

    use.__annotations__["x"] = Context  # as without "from __future__ import annotations"
    kit.result(kit.function(use, task_id="use")(1))


@case()
def callables_of_all_kinds(kit):
    class Plus:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return x + self.n

        @staticmethod
        def twice(x):
            return 2 * x

    scaled = functools.wraps(Plus.twice)(functools.partial(lambda factor, x: factor * x, 3))
    kit.result(kit.function(scaled, task_id="scaled")(kit.function(Plus.twice, task_id="twice")(
        kit.function(Plus(1).__call__, task_id="plus")(1))))  # fmt: skip


@case()
def typed_results(kit):
    class Parts(TypedDict):
        train: list[int]
        test: list[int]

    @kit.function
    def split() -> Parts:
        return {"train": [1, 2], "test": [3]}

    kit.result(kit.function(lambda a, b: a + b, task_id="use")(split()["train"], split.override(task_id="x")()["test"]))


class Score(NamedTuple):
    name: str
    value: float


@case()
def a_named_tuple(kit):
    made = kit.function(lambda: [Score("a", 0.5)._asdict(), list(Score("b", 1.0))], task_id="made")()
    kit.result(kit.function(lambda said: [said[0]["name"], said[1][1]], task_id="use")(made))


@case(params={"n": 2, "needs": {**SMALL}, "envs": {"A": "x"}}, render_template_as_native_obj=True)
def fields_rendered_natively(kit):
    fields = {"requires": "{{ params.needs }}", "hours": "{{ params.n / 100 }}", "num_nodes": "{{ params.n - 1 }}"}
    made = kit.command("made", "echo $A{{ params.n }} > $SKY_OUTPUT_O", envs="{{ params.envs }}", **fields, **OUT)
    use = kit.command("use", "cat $SKY_INPUT_X > $SKY_OUTPUT_O", **OUT,
                      inputs={"x": "{{ ti.xcom_pull(task_ids='made', key='o') }}"})  # fmt: skip
    made >> use
    kit.result(kit.output(use, "o"))


@case()
def a_group_by_partial_with_defaults(kit):
    @task_group
    def each(x, *, factor=2, offset=0):
        @task_group
        def inner(y):
            return kit.function(lambda y, offset: y + offset, task_id="add")(y, offset)

        return inner(kit.function(lambda x, factor: x * factor, task_id="times")(x, factor))

    numbers = kit.function(lambda: [1, 2], task_id="numbers")()
    first = each.override(group_id="first").partial(factor=10).expand(x=numbers)
    second = each.override(group_id="second").partial(x=5).expand_kwargs([{"offset": 1}, {"factor": 3, "offset": 2}])
    kit.result(kit.function(lambda a, b: [list(a), list(b)], task_id="all")(first, second))


@case()
def variables_and_connections_in_fields(kit):
    os.environ |= {"AIRFLOW_VAR_CFG": '{"word": "hi", "gb": 0.01}', "AIRFLOW_CONN_HUB": "http://me:pw@hub.test:81/x"}
    run = "echo {{ var.json.cfg.word }} {{ conn.hub.host }} $LOGIN {{ var.value.get('none', 'no') }} > $SKY_OUTPUT_O"
    outputs = {"o": {"size_gb": "{{ var.json.cfg.gb }}"}}
    made = kit.command("made", run, envs={"LOGIN": "{{ conn.hub.login }}"}, outputs=outputs)
    kit.result(kit.output(made, "o"))


@case()
def pulled_from_several(kit):
    for name, n in (("a", 1), ("b", 2)):
        kit.function(lambda n: n, task_id=name)(n)
    each = kit.function(lambda x: x * 10, task_id="each").expand(x=[1, 2])
    run = """echo {{ ti.xcom_pull(task_ids=['a', 'b']) | sum }} {{ ti.xcom_pull(task_ids='each', map_indexes=1) }} \
{{ ti.xcom_pull(task_ids='nobody') }} > $SKY_OUTPUT_O"""
    made = kit.command("made", run, **OUT)
    [kit.dag.get_task("a"), kit.dag.get_task("b"), each] >> made
    kit.result(kit.output(made, "o"))


@case(dagrun_timeout=timedelta(hours=1))
def a_policy_for_retries(kit):
    policy = ExceptionRetryPolicy(rules=[
        RetryRule(exception=KeyError, action=RetryAction.RETRY, retry_delay=timedelta(0)),
        RetryRule(exception=ValueError, action=RetryAction.FAIL),
    ])  # fmt: skip

    @kit.function(retries=2, retry_policy=policy, retry_delay=timedelta(0))
    def again(tries):
        if int(tries) == 1:
            raise KeyError("once more")
        return "at last"

    kit.result(again("{{ ti.try_number }}"))


@sky_only(3)
def where_an_output_lies(kit):
    made = kit.command("made", WRITE.format(4), **OUT)
    run = f"""echo "{made.outputs["o"]} $ONE $WHOLE" | tr " " "\\n" | grep -c "^[a-z0-9]*://.*/o$" > $SKY_OUTPUT_O"""
    use = kit.command("use", run, envs={"ONE": made.outputs["o"], "WHOLE": made.output}, **OUT)
    kit.result(kit.output(use, "o"))


@case()
def instances_called_by_name(kit):
    made = kit.mapped("made", run="echo $A > $SKY_OUTPUT_O", map_index_template="{{ task.envs['A'] }}", **OUT)
    made = made.expand(envs=[{"A": "x"}, {"A": "y"}])
    one = kit.function(lambda paths: open(list(paths)[1]).read(), task_id="one")  # noqa: SIM115
    kit.result(one(kit.output(made, "o")))
