"""DAGs become the pipelines they mean, and mistakes are said when the file is parsed."""

from datetime import UTC, datetime

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from sky_airflow import get_provider_info
from sky_airflow.dags import pipeline_of
from sky_airflow.exchange import MARK, as_artifact, is_reference, to_references, to_xcom
from sky_airflow.grammar.inputs import read_inputs
from sky_airflow.grammar.limits import objective_of
from sky_airflow.operators.sky import SkyOperator
from sky_core import Artifact
from sky_core.broker.calls import Reference
from sky_core.errors import SpecError


def dag(**kwargs):
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **kwargs)


def test_a_dag_becomes_a_pipeline():
    with dag() as found:
        process = SkyOperator(task_id="process", run="x", outputs={"images": {"size_gb": 150}})
        train = SkyOperator(task_id="train", run="y", requires={"accelerators": "V100:4", "use_spot": True},
                            inputs={"images": process.outputs["images"]}, outputs={"model": Artifact(size_gb=0.1)},
                            hours={"V100:4": 9}, checkpoint="10m")  # fmt: skip
        gate = EmptyOperator(task_id="gate")

        @task.sky(requires={"accelerators": ["T4", "Inferentia"]}, hours=2)
        def infer(model, images):
            return 1

        scored = infer(train.outputs["model"], images=process.outputs["images"])
        report = SkyOperator(task_id="report", run="z")
        scored >> gate >> report
    pipeline = pipeline_of(found)
    assert pipeline.name == "d"
    assert pipeline.data_edges() == {("process", "train"): 150, ("train", "infer"): 0.1, ("process", "infer"): 150}
    assert pipeline.order == (("infer", "report"),), "an Airflow task in between carries order"
    assert pipeline.task("infer").function is not None
    assert train.upstream_task_ids == {"process"}, "a reference is a dependency"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"requires": {"cpus": "many"}}, "cpus: 'many' is not an amount"),
        ({"requires": {"gpus": 1}}, "gpus: no such field"),
        ({"hours": -2}, "Task.t: hours: an estimate must be positive"),
        ({"inputs": {"x": "nowhere"}}, "inputs.x: 'nowhere' is neither"),
        ({"outputs": {"x": "nowhere"}}, "uri: 'nowhere' is not a URI"),
    ],
)
def test_a_mistake_is_said_when_the_file_is_parsed(fields, message):
    with dag(), pytest.raises(SpecError) as caught:
        SkyOperator(task_id="t", run="x", **fields)
    assert message in str(caught.value)


def test_the_dags_limits_are_read_from_its_default_args():
    started = datetime(2026, 5, 1, 22, 0, tzinfo=UTC)
    limits = {"minimize": "time", "deadline": "06:00", "budget_usd": 50}
    objective = objective_of(dag(default_args={"sky": limits}), started)
    assert objective.deadline == datetime(2026, 5, 2, 6, 0, tzinfo=UTC)
    assert (objective.minimize, objective.budget_usd) == ("time", 50)
    assert objective_of(dag(), started) is None
    with pytest.raises(SpecError, match="'26:00' is not a time of day"):
        objective_of(dag(default_args={"sky": {"deadline": "26:00"}}), started)


def test_a_time_of_day_with_an_offset_is_kept():
    started = datetime(2026, 5, 1, 22, 0, tzinfo=UTC)
    objective = objective_of(dag(default_args={"sky": {"deadline": "06:00+05:30"}}), started)
    assert objective.deadline.astimezone(UTC) == datetime(2026, 5, 2, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("limits", [{"budget_usd": 1e-7}, {"minimise": "time"}])
def test_limits_of_one_task_are_refused(limits):
    with dag(), pytest.raises(SpecError, match=r"Task\.t: sky: limits are those of a whole run"):
        SkyOperator(task_id="t", run="x", sky=limits)


def test_limits_that_cannot_be_meant_are_refused_when_the_file_is_parsed():
    with dag(default_args={"sky": {"minimise": "time"}}), pytest.raises(SpecError, match="minimise: no such field"):
        SkyOperator(task_id="t", run="x")


def test_one_secret_may_be_written_as_it_is():
    with dag() as found:
        SkyOperator(task_id="t", run="x", secrets="ACCESS_TOKEN")
    assert pipeline_of(found).task("t").secrets == ("ACCESS_TOKEN",)


def test_mapped_instances_with_needs_of_their_own_are_planned_one_by_one():
    with dag() as found:
        first = SkyOperator(task_id="first", run="x", outputs={"data": {"size_gb": 1}})
        mapped = SkyOperator.partial(task_id="train", run="y", inputs={"data": first.outputs["data"]}).expand(
            requires=[{"accelerators": "T4"}, {"accelerators": "V100:8"}], hours=[1, 2]
        )
        mapped >> SkyOperator(task_id="last", run="z")
    pipeline = pipeline_of(found)
    wanted = {task.name: (dict(task.resources.accelerators), task.hours) for task in pipeline.tasks[1:-1]}
    t4, v100 = {"T4": 1}, {"V100": 8}
    assert wanted == {"train[0]": (t4, 1), "train[1]": (t4, 2), "train[2]": (v100, 1), "train[3]": (v100, 2)}
    assert set(pipeline.data_edges()) == {("first", name) for name in wanted}
    assert set(pipeline.order) == {(name, "last") for name in wanted}


def test_mapped_instances_that_differ_in_their_command_only_share_a_place():
    with dag() as found:
        SkyOperator.partial(task_id="train", requires={"cpus": 2}).expand(run=["a", "b"])
        SkyOperator.partial(task_id="each").expand_kwargs([{"run": "a", "requires": {"cpus": 2}}, {"run": "b"}])
    assert [task.name for task in pipeline_of(found).tasks] == ["train", "each[0]", "each[1]"]


def test_artifacts_go_through_xcom_as_references():
    artifact = Artifact(uri="s3://b/x", size_gb=1, location="aws/us-east-1")
    sent = to_xcom("job-1", artifact)
    assert is_reference(sent)
    assert as_artifact(sent) == artifact
    assert to_references({"a": [sent, 3]})["a"][1] == 3
    reference = to_references([sent])[0]
    assert isinstance(reference, Reference)
    assert reference.artifact == artifact
    assert as_artifact("s3://b/y") == "s3://b/y"
    assert to_references(to_xcom("job-1", artifact, item=0)).key == 0, "the first item is one, too"


def test_what_a_template_has_made_text_of_is_read_back():
    sent = to_xcom("job-1", Artifact(uri="s3://b/x", size_gb=1, location="aws/us-east-1"))
    whole = {"job_id": "job-1", "outputs": {"o": sent}}
    for text in (str(sent), f" {whole} "):
        assert read_inputs("t", {"x": text}).artifacts == {"x": Artifact(**sent[MARK])}
        assert isinstance(to_references([text])[0], Reference)
    for other in ("{'job_id': open('x')}", "{'job_id': 1}", "job_id", "{job_id"):
        assert to_references(other) == other


def test_what_airflow_makes_of_mapped_results_is_a_list():
    from airflow.sdk.definitions.xcom_arg import _ConcatResult, _MapResult, _ZipResult

    sent = to_xcom("job-1", Artifact(uri="s3://b/x"))
    mapped = _MapResult([{"a": sent}], [lambda one: one["a"]])
    assert [one.artifact.uri for one in to_references(mapped)] == ["s3://b/x"]
    assert len(read_inputs("t", {"x": mapped}).artifacts) == 1
    zipped = _ZipResult([mapped, [1]])
    assert to_references({"z": zipped})["z"][0][1] == 1
    assert len(to_references(_ConcatResult([mapped, mapped]))) == 2


def test_the_provider_info_fits_airflows_schema():
    import json
    from importlib.resources import files

    import jsonschema

    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_outlets_that_are_outputs_say_what_became_of_them():
    from airflow.sdk import Asset, AssetAlias
    from airflow.sdk.execution_time.context import OutletEventAccessors

    from sky_airflow.assets import tell_assets
    from sky_core.job.bill import Line
    from sky_core.store import Job

    placement = {
        "task": "t", "cloud": "aws", "region": "us-east-1", "zone": None, "instance_type": "m5.large",
        "accelerator": None, "accelerator_count": 0, "arch": "x86_64", "use_spot": False, "num_nodes": 1, "price": 1,
        "hours": 1, "hours_at_most": 1, "hours_source": "user", "boot_hours": 0, "compute_usd": 1,
    }  # fmt: skip
    job = Job("job-1", "k", "p", "t", "{}", "succeeded", None, 1, 0.0, 0.0, 0.0, None, memory={"placement": placement})
    line = Line(task="t", job_id="job-1", state="succeeded", compute_usd=1.5, egress_usd=0.25, hours=1)
    made = {"model": Artifact(uri="s3://b/m", size_gb=2), "table": Artifact(uri="s3://b/t", size_gb=1)}
    by_name, by_uri, other = Asset("model"), Asset("some", uri="s3://b/t"), Asset("other")
    alias = AssetAlias("model")
    context = {"outlet_events": OutletEventAccessors()}
    tell_assets(context, [by_name, by_uri, other, alias], made, job, line)
    events = context["outlet_events"]
    assert events[by_name].extra == {
        "uri": "s3://b/m", "size_gb": 2, "location": None, "job_id": "job-1", "usd": 1.75,
        "machine": "aws us-east-1 m5.large",
    }  # fmt: skip
    assert events[by_uri].extra["size_gb"] == 1
    assert events[other].extra == {}
    (event,) = events[alias].asset_alias_events
    assert (event.dest_asset_key.uri, event.extra["usd"]) == ("s3://b/m", 1.75)
