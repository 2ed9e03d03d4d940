"""What people who write DAGs do out of habit: frames and arrays between tasks, defaults, callbacks, contexts."""

from datetime import timedelta

import numpy as np
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, AssetAlias, Label, Param, chain, cross_downstream, setup, task, task_group, teardown

from tests.airflow.grammar.kit import NEEDS
from tests.airflow.grammar.registry import case, sky_only

OUT = {"outputs": {"o": {"size_gb": 0.01}}}


@case()
def numbers_of_numpys(kit):
    said = {"mean": np.float64(1.5), "n": np.int64(3), "yes": np.bool_(True)}
    made = kit.function(lambda: said, task_id="made", multiple_outputs=True)()
    use = kit.function(lambda said, n: [float(said["mean"]), int(n), bool(said["yes"])], task_id="use")
    kit.result(use(made, made["n"]))


@case()
def numbers_of_numpys_mapped_over(kit):
    rates = kit.function(lambda: list(np.linspace(0, 1, 3)), task_id="rates")()
    each = kit.function(lambda rate: float(rate * 2), task_id="each").expand(rate=rates)
    kit.result(kit.function(lambda all_of_them: max(all_of_them), task_id="most")(each))


@case()
def an_array_mapped_over_by_a_plain_task(kit):
    rows = kit.function(lambda: np.arange(6).reshape(3, 2).tolist(), task_id="rows")()
    kit.result(task(lambda row: sum(row), task_id="total").expand(row=rows))


@case(default_args={"sky": {"minimize": "time", "deadline": "9h"}, "deadline": 8, "checkpoint": "5m", **NEEDS})
def our_fields_among_the_defaults(kit):
    said = BashOperator(task_id="said", bash_command="echo 1")
    made = kit.function(lambda text: int(text) + 1, task_id="made", checkpoint=None)(said.output)
    kit.result(made)


@case()
def its_fields_overridden(kit):
    inc = kit.function(lambda x: x + 1, task_id="inc")
    more = {"requires": NEEDS["requires"], "hours": 0.02} if kit.sky else {}
    slow = inc.override(task_id="slow", retries=1, **more)
    kit.result(slow(inc(1)))


@case()
def kwargs_zipped(kit):
    xs, ys = (kit.function(lambda n=n: [n, n + 1], task_id=f"n{n}")() for n in (1, 10))
    pairs = xs.zip(ys).map(lambda pair: {"x": pair[0], "y": pair[1]})
    each = kit.function(lambda x, y, z: x * y + z, task_id="each").partial(z=1).expand_kwargs(pairs)
    kit.result(kit.function(lambda found: list(found), task_id="all")(each))


@case()
def a_group_that_branches_while_it_is_mapped(kit):
    @task_group
    def each(x):
        @task.branch(task_id="choose")
        def choose(x):
            return f"each.{'even' if x % 2 == 0 else 'odd'}"

        even, odd = (kit.function(lambda x: x, task_id=name)(x) for name in ("even", "odd"))
        choose(x) >> [even, odd]
        last = kit.function(lambda a, b: a if b is None else b, task_id="last", trigger_rule="none_failed")
        return last(even, odd)

    kit.result(kit.function(lambda found: list(found), task_id="all")(each.expand(x=[1, 2])))


@case()
def a_cluster_set_up_around_others(kit):
    made = setup(kit.function(lambda: "c", task_id="made"))
    gone = teardown(kit.function(lambda name: name, task_id="gone"))
    with made() >> gone("c"):
        one = kit.function(lambda: 1, task_id="one")()
        two = kit.function(lambda x: x + 1, task_id="two")(one)
    kit.result(two)


@case()
def chains_labels_and_crossings(kit):
    a, b, c, d = (kit.function(lambda name=name: name, task_id=name)() for name in "abcd")
    cross_downstream([a, b], [c, d])
    last = kit.function(lambda: "last", task_id="last")()
    chain([c, d], Label("then"), last)
    kit.result(last)


@case(on_success_callback=lambda context: None)
def callbacks_of_all_kinds(kit):
    def seen(context):
        assert context["ti"].task_id
        assert context["run_id"]

    def failed(context):
        assert isinstance(context["exception"], Exception)
        seen(context)

    calls = {"on_execute_callback": seen, "on_success_callback": [seen], "on_retry_callback": failed,
             "on_failure_callback": [failed, failed], "on_skipped_callback": seen}  # fmt: skip
    bad = kit.command("bad", "exit 3", retries=1, retry_delay=timedelta(0), **calls)
    away = kit.command("away", "exit 99", **calls)
    good = kit.function(lambda: 1, task_id="good", **calls)()
    after = kit.function(lambda x: x, task_id="after", trigger_rule="all_done", **calls)(good)
    [bad, away] >> after
    kit.result(after)


@case(default_args={"retries": 3, "retry_delay": timedelta(0), "retry_exponential_backoff": 2.0,
                    "max_retry_delay": timedelta(seconds=1)})  # fmt: skip
def retries_that_back_off(kit):
    @kit.function
    def again(tries):
        return tries if int(tries) > 2 else 1 // 0

    kit.result(again("{{ ti.try_number }}"))


@case(params={"n": Param(None, type=["null", "integer"]), "many": Param([1, 2], type="array"), "deep": {"a": {"b": 1}}},
      conf={"n": 5})  # fmt: skip
def parameters_of_all_kinds(kit):
    @kit.function
    def use(params, n, many):
        return [params["n"], n, params["many"], many, params["deep"]["a"]["b"], sorted(params)]

    kit.result(use(n="{{ params.n }}", many="{{ params['many'] | length }}"))


@case()
def an_output_of_one_that_keeps_no_value(kit):
    made = kit.command("made", "echo 1 > $SKY_OUTPUT_O", do_xcom_push=False, **OUT)
    kit.result(kit.output(made, "o"))


@case()
def assets_in_and_out(kit):
    raw, clean = Asset("raw", "s3://team/raw"), Asset("clean", "s3://team/clean")
    first = kit.function(lambda: 1, task_id="first", outlets=[raw, AssetAlias("mine")])()
    second = kit.function(lambda x: x + 1, task_id="second", inlets=[raw], outlets=[clean])(first)
    third = kit.command("third", "echo 3 > $SKY_OUTPUT_O", inlets=[clean], outlets=[Asset("o")], **OUT)
    second >> third
    kit.result(kit.output(third, "o"))


@sky_only("'s3'")
def an_event_tells_where_the_output_lies(kit):
    made = kit.command("made", "echo 3 > $SKY_OUTPUT_O", outlets=[AssetAlias("o"), Asset("o")], **OUT)

    @task(task_id="read", inlets=[AssetAlias("o")])
    def read(inlet_events=None):
        return inlet_events[AssetAlias("o")][-1].extra["uri"].partition(":")[0]

    made >> (seen := read())
    kit.result(seen)
