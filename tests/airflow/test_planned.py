"""What is planned of fields that are templates, other tasks' results or mapped: as much as is known by then."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, DeadlineAlert, DeadlineReference, SyncCallback, task, task_group

from sky_airflow import Artifact
from sky_airflow.dags import Reading, pipeline_of
from sky_airflow.exchange import to_xcom
from sky_airflow.grammar.limits import objective_of, still_to_be_met
from sky_airflow.grammar.naming import task_name
from sky_airflow.operators.sky import SkyOperator
from sky_airflow.planning import draft_reading, with_truth
from sky_core import Resources, Task
from sky_core.errors import SpecError
from sky_core.spec import Artifact as SpecArtifact
from sky_core.spec import Objective

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def dag(**kwargs):
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **kwargs)


def drafted(found):
    return pipeline_of(found, draft_reading(found, NOW))


def needs(task):
    return dict(task.resources.model_dump(exclude_defaults=True))


FIELDS = [
    ({"requires": {"accelerators": "{{ params.gpu }}:1"}}, lambda t: t.resources.accelerators, (("T4", 1.0),)),
    ({"requires": {"cpus": "{{ params.n }}+"}}, lambda t: t.resources.cpus.low, 4),
    ({"requires": {"use_spot": "{{ params.yes }}"}}, lambda t: t.resources.use_spot, True),
    ({"requires": {"cloud": "{{ params.nothing }}"}}, lambda t: t.resources.cloud, ()),
    ({"requires": "{{ params.needs }}"}, lambda t: t.resources.cloud, ("aws",)),
    ({"requires": "{{ params.needs | tojson }}"}, lambda t: t.resources.cloud, ("aws",)),
    ({"num_nodes": "{{ params.n }}"}, lambda t: t.num_nodes, 4),
    ({"hours": "{{ params.n / 8 }}"}, lambda t: t.hours, 0.5),
    ({"hours": "{{ params.nothing }}"}, lambda t: t.hours, None),
    ({"hours": {"T4": "{{ params.n }}"}}, lambda t: t.hours, {"T4": 4.0}),
    ({"deadline": "{{ params.n }}h"}, lambda t: t.deadline, 4.0),
    ({"checkpoint": "{{ params.yes }}"}, lambda t: t.checkpoint is not None, True),
    ({"budget_usd": "{{ params.n }}"}, lambda t: t.budget_usd, 4.0),
    ({"inputs": {"x": "{{ var.value.nowhere_defined }}/x"}}, lambda t: dict(t.inputs), {}),
    ({"inputs": {"x": "s3://b/{{ ds }}/x"}}, lambda t: t.inputs["x"].uri, "s3://b/2026-11-25/x"),
    ({"inputs": {"x": "s3://b/{{ ti.try_number }}/x"}}, lambda t: t.inputs["x"].uri, "s3://b/{{ ti.try_number }}/x"),
    ({"outputs": {"m": Artifact(uri="{{ 's3://b' }}/m", size_gb="{{ params.n }}")}},
     lambda t: (t.outputs["m"].uri, t.outputs["m"].size_gb), ("s3://b/m", 4.0)),
    ({"setup": "{{ ti.task_id }}", "workdir": "{{ var.value.nowhere_defined }}"}, lambda t: t.workdir, None),
    ({"secrets": {"TOKEN": "{{ conn.x.password }}"}}, lambda t: t.secrets, ("TOKEN",)),
    ({"secrets": "TOKEN"}, lambda t: t.secrets, ("TOKEN",)),
    ({"environment": "{{ 'uv' }}.lock"}, lambda t: t.environment, "uv.lock"),
    ({"environment": "caller"}, lambda t: t.environment, "caller"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "seen", "right"), FIELDS, ids=[str(fields) for fields, _, _ in FIELDS])
def test_a_field_that_is_a_template(fields, seen, right):
    params = {"gpu": "T4", "n": 4, "yes": True, "nothing": None, "needs": {"cloud": "aws"}}
    with dag(params=params) as found:
        SkyOperator(task_id="t", run="make {{ ds }}", **fields)
    assert seen(drafted(found).task("t")) == right


@pytest.mark.parametrize("native", [True, False])
def test_a_dag_may_render_natively(native):
    with dag(params={"needs": {"cpus": "4+"}}, render_template_as_native_obj=native) as found:
        SkyOperator(task_id="t", run="x", requires="{{ params.needs }}")
    assert drafted(found).task("t").resources.cpus.low == 4


@pytest.mark.parametrize(
    "fields",
    [{"envs": "V"}, {"envs": {"A": "V"}}, {"requires": "V"}, {"requires": {"cpus": "V", "cloud": "aws"}},
     {"hours": "V"}, {"inputs": {"x": "V"}}, {"inputs": "V"}, {"outputs": {"o": {"uri": "V"}}}, {"num_nodes": "V"},
     {"run": "V"}, {"secrets": {"A": "V"}}, {"deadline": "V"}, {"setup": "V"}, {"workdir": "V"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("mapped", [False, True])
def test_a_field_that_another_task_gives(fields, mapped):
    def filled(value, made):
        if isinstance(value, dict):
            return {key: filled(part, made) for key, part in value.items()}
        return made if value == "V" else value

    with dag() as found:
        made = task(lambda: 1, task_id="made")()
        fields = {"task_id": "t", **filled(fields, made)}
        if mapped:
            SkyOperator.partial(**fields).expand(**({"envs": [{"B": "1"}]} if "run" in fields else {"run": ["a", "b"]}))
        else:
            SkyOperator(**{"run": "x", **fields})
    planned = drafted(found).task("t")
    assert "aws" in planned.resources.cloud or "cloud" not in str(fields)
    assert found.get_task("t").upstream_task_ids == {"made"}, "Airflow waits for it"


def test_task_ids_that_airflow_allows():
    with dag() as found:
        a, b, c = (SkyOperator(task_id=name, run="x", outputs={"o": {}}) for name in ("01_extract", "größe", "x" * 240))
        SkyOperator(task_id="plain", run="x", inputs={"a": a.outputs["o"], "b": b.output})
        a >> b >> c
    pipeline = drafted(found)
    names = [task_name(operator.task_id) for operator in (a, b, c)]
    assert len(set(names)) == 3
    assert {task.name for task in pipeline.tasks} == {*names, "plain"}
    assert set(pipeline.data_edges()) == {(names[0], "plain"), (names[1], "plain")}


def test_edges_of_functions_and_mapped_tasks():
    with dag() as found:
        square = task.sky(lambda x: x * x, task_id="square").expand(x=[1, 2])
        total = task.sky(lambda xs: 1, task_id="total")(square)
        two = task.sky(lambda x: {"a": 1}, task_id="two", multiple_outputs=True)(total)
        task.sky(lambda n: n, task_id="one")(two["a"])
        parts = SkyOperator.partial(task_id="part", outputs={"o": {"size_gb": 3}}).expand(run=["a", "b"])
        each = SkyOperator.partial(task_id="each", run="x", outputs={"o": {}}).expand(num_nodes=[1, 2])
        SkyOperator(task_id="join", run="x", inputs={"parts": parts.outputs["o"], "each": each.outputs["o"]})
    edges = drafted(found).data_edges()
    joined = {(name, "join") for name in ("part", "each[0]", "each[1]")}
    assert set(edges) == {("square", "total"), ("total", "two"), ("two", "one"), *joined}
    assert edges["part", "join"] == 3


def test_an_input_that_was_mapped_over_is_known_to_the_instance_that_runs():
    reference = to_xcom("job-1", SpecArtifact(uri="s3://b/x", size_gb=3, location="aws/us-east-1"))
    with dag() as found:
        SkyOperator.partial(task_id="each", run="x").expand(inputs=[{"x": reference}, {"x": "s3://b/y"}])
    tasks = drafted(found).tasks
    assert [task.inputs["x"].uri for task in tasks] == ["s3://b/x", "s3://b/y"]
    assert tasks[0].inputs["x"].size_gb == 3


def test_a_dag_may_have_delimiters_of_its_own():
    options = {"variable_start_string": "[[", "variable_end_string": "]]"}
    with dag(params={"n": 4}, jinja_environment_kwargs=options) as found:
        SkyOperator(
            task_id="t", run="echo {{ literally }}", requires={"cpus": "[[ params.n ]]+"}, num_nodes="[[ 1 + 1 ]]"
        )
    planned = drafted(found).task("t")
    assert (planned.resources.cpus.low, planned.num_nodes, planned.run) == (4, 2, "echo {{ literally }}")


def test_instances_of_a_mapped_group_have_places_of_their_own():
    with dag() as found:

        @task_group
        def trained(needs):
            SkyOperator(task_id="fit", run="x", requires=needs)
            SkyOperator(task_id="show", run="x")

        trained.expand(needs=[{"cloud": "aws"}, {"cloud": "gcp"}])
    tasks = {task.name: task.resources.cloud for task in drafted(found).tasks}
    assert tasks == {"trained.fit[0]": ("aws",), "trained.fit[1]": ("gcp",), "trained.show": ()}


def test_a_functions_argument_may_be_called_like_a_field():
    with dag() as found:
        task.sky(lambda hours, requires: 1, task_id="f").expand(hours=[1, 2], requires=[3])
    assert [task.name for task in drafted(found).tasks] == ["f"]


def test_the_needs_of_default_args_hold_for_mapped_tasks():
    with dag(default_args={"requires": {"cloud": "gcp"}, "hours": 3}) as found:
        SkyOperator.partial(task_id="t").expand(run=["a"])
    planned = drafted(found).task("t")
    assert (planned.resources.cloud, planned.hours) == (("gcp",), 3)


def unknown_needs():
    with dag() as found:
        needs = task(lambda: [], task_id="needs")()
        SkyOperator.partial(task_id="fit", run="x").expand(requires=needs)
        SkyOperator(task_id="one", run="x", requires={"cpus": needs, "cloud": "aws"})
    return found


def test_what_one_task_has_turned_out_to_need_the_others_plan_with():
    found = unknown_needs()
    first = pipeline_of(found)
    assert [task.name for task in first.tasks] == ["fit", "one"]
    truth = Task(name="one", run="x", resources={"cpus": 8, "cloud": "aws"})
    second, name = with_truth(first, "one", -1, truth)
    assert (name, second.task("one").resources.cpus.low) == ("one", 8)
    again = pipeline_of(found, Reading(earlier={task.name: task for task in second.tasks}))
    assert again.model_dump_json() == second.model_dump_json(), "the plan is not made anew for nothing"
    assert with_truth(again, "one", -1, truth) == (again, "one")


def test_an_instance_that_differs_becomes_a_task_of_its_own():
    found = unknown_needs()
    truth = Task(name="fit", run="x", resources={"accelerators": "T4"})
    second, name = with_truth(pipeline_of(found), "fit", 1, truth)
    assert name == "fit[1]"
    assert {task.name for task in second.tasks} == {"fit", "fit[1]", "one"}
    again = pipeline_of(found, Reading(earlier={task.name: task for task in second.tasks}))
    assert again.task("fit[1]").resources == Resources(accelerators="T4")


def test_times_of_day_count_in_the_dags_own_zone_over_clock_changes():
    from zoneinfo import ZoneInfo

    berlin = DAG("b", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
                 default_args={"sky": {"deadline": "06:00"}})  # fmt: skip
    evening = datetime(2026, 3, 28, 20, tzinfo=UTC)  # the clocks go forward in the night
    assert objective_of(berlin, evening).deadline.astimezone(UTC) == datetime(2026, 3, 29, 4, tzinfo=UTC)
    autumn = datetime(2026, 10, 24, 20, tzinfo=UTC)
    assert objective_of(berlin, autumn).deadline.astimezone(UTC) == datetime(2026, 10, 25, 5, tzinfo=UTC)
    berlin.default_args["sky"] = {"deadline": "02:30"}  # which that night does not have
    assert objective_of(berlin, evening).deadline.astimezone(UTC) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    with dag() as found:
        SkyOperator(task_id="t", run="x", deadline="06:00")
    begun = pipeline_of(found, Reading(started=datetime(2100, 1, 1, tzinfo=UTC)))
    assert begun.task("t").deadline == datetime(2100, 1, 1, 6, tzinfo=UTC)


def test_a_deadline_that_has_passed_is_late_and_not_wrong():
    objective, late = still_to_be_met(Objective(deadline=NOW, budget_usd=3), NOW + timedelta(hours=1))
    assert (objective.deadline, objective.minimize, objective.budget_usd) == (None, "time", 3)
    assert "has passed" in late
    assert still_to_be_met(Objective(deadline=NOW), NOW - timedelta(hours=1)) == (Objective(deadline=NOW), "")
    with dag() as found:
        SkyOperator(task_id="t", run="x", deadline="2020-01-01T00:00:00+00:00")
    assert drafted(found).task("t").deadline is None


def test_a_command_may_lie_in_a_file(tmp_path):
    (tmp_path / "train.sh").write_text("echo {{ ds }} > $SKY_OUTPUT_O")
    with dag(template_searchpath=[str(tmp_path)]):
        found = SkyOperator(task_id="t", run="train.sh")
        assert found.run == "echo {{ ds }} > $SKY_OUTPUT_O"
        assert SkyOperator(task_id="own", run="./train.sh").run == "./train.sh", "a file of the working folder"
        assert SkyOperator(task_id="other", run="bash train.sh").run == "bash train.sh"


def test_uris_are_rendered_for_each_run():
    with dag():
        uri = "s3://team-bucket/{{ ds }}/model"
        one = SkyOperator(task_id="t", run="x", inputs={"x": Artifact(uri=uri)}, outputs={"model": Artifact(uri=uri)})
    for day in ("2026-11-25", "2026-11-26"):
        other = one.prepare_for_execution()
        other.render_template_fields({"ds": day})
        assert other.inputs["x"]["uri"] == other.outputs["model"].uri == f"s3://team-bucket/{day}/model"


def test_the_deadline_may_be_the_dags_own_alert():
    def told(*alerts, logical=None):
        limits = {"sky": {"deadline": "alert"}}
        dag = DAG("d", schedule=None, start_date=NOW, default_args=limits, deadline=list(alerts) or None)
        return objective_of(dag, NOW, logical=logical).deadline

    def alert(reference, hours):
        return DeadlineAlert(reference, timedelta(hours=hours), SyncCallback("builtins.print"))

    queued, date = DeadlineReference.DAGRUN_QUEUED_AT, DeadlineReference.DAGRUN_LOGICAL_DATE
    assert told(alert(queued, 6)) == NOW + timedelta(hours=6)
    assert told(alert(queued, 6), alert(date, 5), logical=NOW - timedelta(hours=1)) == NOW + timedelta(hours=4)
    assert told(alert(DeadlineReference.FIXED_DATETIME(NOW), 2)) == NOW + timedelta(hours=2)
    with pytest.raises(SpecError, match="no moment"):
        told(alert(DeadlineReference.AVERAGE_RUNTIME(), 1))
    with pytest.raises(SpecError, match="DeadlineAlert"):
        told()
