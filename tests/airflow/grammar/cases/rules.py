"""Trigger rules, branches of all kinds, setup and teardown, hooks, sensors, assets and schedules."""

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, AssetAlias, CronPartitionTimetable, Param, PokeReturnValue, TaskGroup, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from tests.airflow.grammar.registry import case


def _rule(kit, rule):
    good = kit.function(lambda: 1, task_id="good")()
    bad = kit.function(lambda: 1 // 0, task_id="bad")()
    after = kit.function(lambda: rule, task_id="after", trigger_rule=rule)()
    [good, bad] >> after
    kit.result(after)


@case()
def when_one_has_failed(kit):
    _rule(kit, "one_failed")


@case()
def when_one_has_succeeded(kit):
    _rule(kit, "one_success")


@case()
def when_all_have_succeeded(kit):
    _rule(kit, "all_success")


@case()
def when_none_was_skipped(kit):
    skipped = kit.command("skipped", "exit 99")
    after = kit.function(lambda: 1, task_id="after", trigger_rule="none_skipped")()
    always = kit.function(lambda: 2, task_id="always", trigger_rule="always")()
    skipped >> [after, always]
    kit.result(always)


@case()
def a_branch_by_a_sky_value(kit):
    size = kit.function(lambda: 12, task_id="size")()

    @task.branch
    def choose(n):
        return "large" if n > 10 else "small"

    large, small = (kit.function(lambda: 1, task_id=name)() for name in ("large", "small"))
    choose(size) >> [large, small]
    kit.result(large)


@case()
def a_branch_to_a_group(kit):
    @task.branch
    def choose():
        return "left"

    with TaskGroup("left"):
        a = kit.function(lambda: 1, task_id="a")()
    with TaskGroup("right") as right:
        kit.function(lambda: 2, task_id="b")()
    chosen = choose()
    chosen >> [a, right]
    kit.result(a)


@case()
def a_short_circuit_of_the_next_only(kit):
    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def stop():
        return False

    first = kit.function(lambda: 1, task_id="first")()
    last = kit.function(lambda: 2, task_id="last", trigger_rule="all_done")()
    stop() >> first >> last
    kit.result(last)


@case()
def a_sensor_before(kit):
    @task.sensor(poke_interval=0.1, timeout=30, mode="poke")
    def there():
        return PokeReturnValue(is_done=True, xcom_value=8)

    kit.result(kit.function(lambda n: n + 1, task_id="use")(there()))


@case()
def bash_between(kit):
    made = kit.function(lambda: "word", task_id="made")()
    said = BashOperator(task_id="said", bash_command="echo {{ ti.xcom_pull(task_ids='made') }}s")
    made >> said
    kit.result(kit.function(lambda text: text.upper(), task_id="use")(said.output))


@case()
def empty_joints(kit):
    begin, end = EmptyOperator(task_id="begin"), EmptyOperator(task_id="end")
    one, two = (kit.function(lambda: 1, task_id=name)() for name in ("one", "two"))
    begin >> [one, two] >> end
    kit.result(one)


@case()
def commands_set_up_and_tear_down(kit):
    made = kit.command("made", "echo 1").as_setup()
    work = kit.function(lambda: 3, task_id="work")()
    gone = kit.command("gone", "exit 1").as_teardown(setups=made)
    made >> work >> gone
    kit.result(work)


@case()
def a_teardown_that_counts(kit):
    made = kit.command("made", "true").as_setup()
    work = kit.command("work", "true")
    gone = kit.command("gone", "exit 1").as_teardown(setups=made, on_failure_fail_dagrun=True)
    made >> work >> gone
    kit.result(None)


@case()
def a_command_that_fails(kit):
    bad = kit.command("bad", "exit 3")
    after = kit.function(lambda: 1, task_id="after")()
    rescue = kit.function(lambda: 2, task_id="rescue", trigger_rule="all_failed")()
    bad >> [after, rescue]
    kit.result(rescue)


@case(default_args={"retries": 2, "retry_delay": timedelta(0), "retry_exponential_backoff": True})
def a_command_tried_again(kit):
    made = kit.command("made", "[ {{ ti.try_number }} = 2 ] && echo done > $SKY_OUTPUT_O", outputs={"o": {}})
    kit.result(kit.output(made, "o"))


@case()
def hooks_before_and_after(kit):
    seen = []
    first = kit.function(
        lambda: 1, task_id="first", pre_execute=lambda context: seen.append("pre"),
        on_success_callback=lambda context: seen.append("good"),
    )()  # fmt: skip
    bad = kit.function(lambda: 1 // 0, task_id="bad", on_failure_callback=lambda context: seen.append("bad"))()
    first >> bad
    kit.result(first)


@case()
def forbidden_by_a_hook(kit):
    def no(context):
        raise AirflowFailException("not today")

    kit.result(kit.function(lambda: 1, task_id="first", pre_execute=no, retries=2, retry_delay=timedelta(0))())


@case()
def pools_weights_and_words(kit):
    made = kit.function(
        lambda: 1, task_id="made", pool="default_pool", priority_weight=7, weight_rule="absolute", owner="team",
        doc_md="# words", task_display_name="Made!", queue="default", execution_timeout=timedelta(minutes=30),
        depends_on_past=True, wait_for_downstream=True,
    )  # fmt: skip
    kit.result(made())


@case(params={"n": Param(3, type="integer", minimum=1), "who": Param("x", enum=["x", "y"])}, conf={"who": "y"})
def parameters_with_a_schema(kit):
    kit.result(kit.function(lambda params: [params["n"], params["who"]], task_id="use")())


@case(schedule="@daily", catchup=False)
def a_daily_one(kit):
    kit.result(kit.function(lambda data_interval_start, ds: len(ds), task_id="use")())


@case(schedule=[Asset("s3://team/raw")])
def scheduled_by_an_asset(kit):
    kit.result(kit.function(lambda: 1, task_id="use", inlets=[Asset("s3://team/raw")])())


@case(schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC"))
def a_partitioned_one(kit):
    kit.result(kit.function(lambda partition_key=None: 1, task_id="use")())


@case()
def outlets(kit):
    out = kit.function(lambda: 1, task_id="made", outlets=[Asset("s3://team/made"), AssetAlias("made")])()
    made = kit.command("table", "echo 1 > $SKY_OUTPUT_TABLE", outputs={"table": {}}, outlets=[AssetAlias("table")])
    out >> made
    kit.result(kit.output(made, "table"))


@case(default_args={"retries": 0})
def defaults_of_a_group(kit):
    @task_group(default_args={"retries": 1, "retry_delay": timedelta(0)}, prefix_group_id=False)
    def inner():
        def again(tries):
            return "x" if int(tries) > 1 else 1 // 0

        return kit.function(again, task_id="again")("{{ ti.try_number }}")

    kit.result(inner())
