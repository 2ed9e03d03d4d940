"""A mistake is told at the earliest moment that it can be known, with its task, its field and what would be right."""

import importlib
import sys
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, Variable, task
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow import Artifact
from sky_airflow.dags import pipeline_of
from sky_airflow.grammar.fields import artifacts, build_task
from sky_airflow.grammar.inputs import read_inputs
from sky_airflow.operators.cluster import SkyClusterOperator
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.operators.gc import SkyGcOperator
from sky_airflow.operators.plan import SkyPlanOperator
from sky_airflow.operators.sky import SkyOperator
from sky_airflow.sensors.sky import SkySensor
from sky_core import Artifact as PlainArtifact
from sky_core.errors import JobFailed, MissingExtra, NoFeasibleOffering, SpecError


def dag(**kwargs):
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), **kwargs)


def parsed(write, **kwargs):
    """Make a DAG as Airflow does: its processor asks for the files that are named, once it knows whose DAG it is."""
    with dag(**kwargs) as made:
        write()
    made.resolve_template_files()


PARSED = [
    ({"requires": {"gpus": 1}}, "Task.t: requires: gpus: no such field (did you mean accelerators?)"),
    ({"requires": {"acelerators": "T4"}}, "did you mean accelerators?"),
    ({"requires": {"any_of": [{"clod": "aws"}]}}, "clod: no such field (did you mean cloud?)"),
    ({"requires": {"gpus": "{{ params.n }}"}}, "gpus: no such field"),
    ({"requires": {"cpus": "many"}}, "requires: cpus: 'many' is not an amount"),
    ({"requires": {"cpus": "many", "cloud": "{{ params.c }}"}}, "requires: cpus: 'many' is not an amount"),
    ({"requires": "T4"}, "requires: 'T4' is not a mapping"),
    ({"requires": ["T4"]}, "requires: ['T4'] is not a mapping"),
    ({"hours": -2}, "Task.t: hours: an estimate must be positive"),
    ({"hours": {"T4": 0}}, "hours"),
    ({"num_nodes": 0}, "num_nodes"),
    ({"num_nodes": "two"}, "num_nodes"),
    ({"checkpoint": "often"}, "'often' is not a duration"),
    ({"deadline": "soon"}, "'soon' is neither a duration nor a point in time"),
    ({"deadline": "26:00"}, "'26:00' is not a time of day"),
    ({"deadline": "2030-01-01T00:00:00"}, "a deadline needs a time zone"),
    ({"budget_usd": 0}, "budget_usd"),
    ({"inputs": {"x": "nowhere"}}, "inputs.x: 'nowhere' is neither"),
    ({"inputs": {"x-y": "s3://b/x"}}, "'x-y' cannot name an input"),
    ({"inputs": {"x": {"url": "s3://b/x"}}}, "inputs.x: url: no such field (did you mean uri?)"),
    ({"inputs": {"x": "s3://b/1", "X": "s3://b/2"}}, "differ by case only"),
    ({"inputs": ["s3://b/x"]}, "inputs: ['s3://b/x'] is not a mapping"),
    ({"outputs": {"x": "nowhere"}}, "outputs.x: uri: 'nowhere' is not a URI"),
    ({"outputs": {"x": Artifact(size_gb=-1)}}, "outputs.x: size_gb"),
    ({"outputs": {"x": {"size": 1}}}, "size: no such field (did you mean size_gb?)"),
    ({"envs": {"A-B": "1"}}, "'A-B' is not a name of an environment variable"),
    ({"envs": ["A=1"]}, "envs"),
    ({"run": None}, "run: a task needs a command"),
    ({"run": "missing.sh"}, "there is no file missing.sh below"),
    ({"run": "echo {{ ds"}, "run: this template cannot be read: line 1"),
    ({"run": "echo ${#files[@]}"}, "{% raw %}"),
    ({"setup": "{% if %}"}, "setup: this template cannot be read"),
    ({"sky": {"budget_usd": 1}}, "sky: limits are those of a whole run"),
    ({"sky": {"minimise": "time"}}, "minimise: no such field, did you mean minimize?"),
    ({"resources": {"cpus": 4}}, "resources: not a parameter here (write requires={…})"),
    ({"accelerators": "T4"}, 'accelerators: not a parameter here (write requires={"accelerators": …})'),
    ({"vcpus": 4}, 'vcpus: not a parameter here (write requires={"cpus": …})'),
    ({"env_vars": {"A": "1"}}, "env_vars: not a parameter here (write envs={…})"),
    ({"image": "python:3.12"}, 'image: not a parameter here (write requires={"image": "docker:…"})'),
    ({"chekpoint": "5m"}, "chekpoint: not a parameter here (did you mean checkpoint?)"),
    ({"requires": [{"cpus": 4}]}, "write {'any_of': [...]}"),
    ({"run": ["python", "a.py"]}, "run: ['python', 'a.py'] is a list"),
    ({"run": " "}, "Task.t: run: there is nothing to run"),
    ({"requires": {"accelerators": "A1000"}}, "accelerators: there is none called 'A1000' (did you mean A100"),
    ({"requires": {"any_of": [{"accelerators": {"H10": 8}}]}}, "did you mean H100"),
    ({"requires": {"cloud": "amazon"}}, "requires: cloud: there is none called 'amazon' (did you mean aws?)"),
    ({"requires": {"cloud": "gpc"}}, "did you mean gcp?"),
    ({"requires": {"cloud": "{{ params.c }}", "region": "us-eest-1"}}, "region: there is none called 'us-eest-1'"),
    ({"requires": {"cloud": "azure", "region": "eastus22"}}, "did you mean eastus2"),
    ({"requires": {"cloud": "gcp", "zone": "us-centrall-a"}}, "zone: there is none called 'us-centrall-a'"),
    ({"inputs": {"x": "s4://b/x"}}, "inputs.x: uri: 's4://b/x': no store is reached by s4://; write one of"),
    ({"outputs": {"x": "gss://b/out"}}, "outputs.x: uri: 'gss://b/out': no store is reached by gss://"),
    ({"envs": {"SKY_JOB_ID": "1"}}, "envs: SKY_JOB_ID is set by the job itself (give it another name)"),
    ({"envs": {"SKY_INPUT_X": "1"}, "inputs": {"x": "s3://b/x"}}, "envs: SKY_INPUT_X is set by the job itself"),
    ({"envs": {"A-B": "{{ ds }}"}}, "envs: 'A-B' is not a name of an environment variable"),
    ({"secrets": ["SKY_NODE_IPS"]}, "secrets: SKY_NODE_IPS is set by the job itself"),
    ({"envs": {"A": "1"}, "secrets": ["A"]}, "secrets: A stands in envs, too (leave it out of one of them)"),
    ({"envs": {"A": "{{ ds }}"}, "secrets": {"A": "{{ conn.x.password }}"}}, "secrets: A stands in envs, too"),
    ({"workdir": "nope"}, "workdir: there is no folder nope in "),
    ({"environment": "nope.lock"}, "environment: there is no file nope.lock in "),
    ({"mounts": {"/data": {"source": "nope"}}}, "mounts./data: there is no file nope in "),
    ({"mounts": {"/data": "nope"}}, "mounts./data: there is no file nope in "),
    ({"secrets": {"TOKEN": None}}, "Task.t: secrets: TOKEN is None (list names to take them where it runs)"),
    ({"run": parsed}, "Task.t: run: parsed is a function, no command (decorate it with @task.sky)"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "message"), PARSED, ids=[message for _, message in PARSED])
def test_when_the_file_is_parsed(fields, message):
    with pytest.raises(SpecError) as caught:
        parsed(lambda: SkyOperator(**{"task_id": "t", "run": "x", **fields}))
    assert message in str(caught.value)
    assert "Task.t" in str(caught.value)


@pytest.mark.parametrize(("fields", "message"), [row for row in PARSED if "run" not in row[0]], ids=str)
def test_of_a_mapped_operator(fields, message):
    with pytest.raises(SpecError) as caught:
        parsed(lambda: SkyOperator.partial(task_id="t", **fields).expand(run=["x", "y"]))
    assert message in str(caught.value)


MEANT = [
    {"workdir": "{{ params.folder }}"}, {"workdir": "/nope"}, {"workdir": "../nope"}, {"workdir": "~/nope"},
    {"workdir": "grammar"}, {"environment": "caller"}, {"run": "missing.sh", "template_searchpath": True},
    {"requires": {"accelerators": ["nvidia-a100", "RTX4090", "v6e-8", "tpu-v5p-16", "Own"]}},
    {"requires": {"cloud": ["lab", "g*"], "region": ["us-*", "mars"]}}, {"envs": {"SKY_OWN": "1"}},
    {"mounts": {"/data": "s3://b/x", "/code": "grammar"}, "restart_on": 3}, {"requires": {"ports": 8080}},
    {"requires": {"zone": ["us-east-1a", "1", "mars-1"]}}, {"inputs": {"x": "{{ params.store }}://b/x", "y": "hf://a/b"}},
    {"envs": {"A": None}, "secrets": "B"}, {"requires": {"accelerators": "{{ params.what }}", "cloud": "GCP"}},
]  # fmt: skip


@pytest.mark.parametrize("fields", MEANT, ids=str)
def test_what_may_be_meant(fields, tmp_path):
    fields = dict(fields)
    (tmp_path / "missing.sh").write_text("true\n")
    where = {"template_searchpath": str(tmp_path)} if fields.pop("template_searchpath", False) else {}
    parsed(lambda: SkyOperator(**{"task_id": "t", "run": "x", **fields}), **where)


def test_files_lie_beside_the_dags_file_whatever_helper_has_made_it(tmp_path):
    (tmp_path / "train.sh").write_text("make\n")
    (tmp_path / "code").mkdir()
    with dag() as made:  # as a helper in another folder does
        found = SkyOperator(task_id="t", run="train.sh", workdir="code")
    made.fileloc = str(tmp_path / "dag.py")
    made.resolve_template_files()
    assert found.run == "make\n"


def test_a_name_that_another_catalog_may_have_is_left_to_the_plan(monkeypatch, tmp_path):
    fields = {"task_id": "t", "run": "x", "requires": {"accelerators": "A1000"}}
    with dag():
        SkyOperator(**fields, sky_conn_id="elsewhere")
    monkeypatch.setenv("SKYLOOM_HOME", str(tmp_path))
    with dag(), pytest.raises(SpecError, match="did you mean A100"):
        SkyOperator(**fields)
    (tmp_path / "catalog.toml").write_text("")
    with dag():
        SkyOperator(**fields)


def _asks_while_it_runs():
    def inner():
        from airflow.sdk import get_current_context

        return get_current_context()

    return inner()


def _asks_a_helper():
    return _first(1)


def _first(n):
    return n and _second(n)


def _second(n):
    return Variable.get("x") if n else _first(n)


def made():
    return SkyOperator(task_id="a", run="x", outputs={"model": {}})


MAPPED = [
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(hours=[1, -1]), "hours: an estimate must be positive"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(requires=[{"cpus": 1}, {"gpu": 1}]), "gpu: no such"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand_kwargs([{"num_nodes": 0}]), "num_nodes"),
    (lambda: task.sky(lambda x: x, task_id="t", hours=-1).expand(x=[1]), "hours: an estimate must be positive"),
    (lambda: task.sky(lambda x: x, task_id="t", requires={"gpus": 1}).expand(x=[1]), "did you mean accelerators?"),
    (lambda: task.sky(lambda ti: ti, task_id="t")(), "argument ti: it stays in Airflow"),
    (lambda: task.sky(lambda ti=None: ti, task_id="t")(), "argument ti: it stays in Airflow"),
    (lambda: task.sky(lambda: Variable.get("x"), task_id="t")(), "Variable: it is Airflow's to answer"),
    (lambda: task.sky(_asks_while_it_runs, task_id="t")(), "get_current_context: it is Airflow's to answer"),
    (lambda: task.sky(_asks_a_helper, task_id="t")(), "Variable: it is Airflow's to answer"),
    (lambda: task.sky(lambda: 1, task_id="t", resources={"cpus": 4})(), "resources: not a parameter here"),
    (lambda: task.sky(lambda x: x, task_id="t", resources={"cpus": 4}).expand(x=[1]), "resources: not a parameter"),
    (lambda: task.sky(lambda: 1, task_id="t", gpu="T4")(), 'write requires={"accelerators": …}'),
    (lambda: SkyOperator(task_id="t", bash_command="x"), "bash_command: not a parameter here (write run=…)"),
    (lambda: task.sky(lambda: 1, task_id="t", run="x")(), "Task.t: run: not for a function"),
    (lambda: task.sky(lambda: 1, task_id="t", outputs={"o": {}})(), "Task.t: outputs: not for a function"),
    (lambda: SkyOperator(task_id="t", run="x", outputs={"model": {}}).outputs["modle"], "did you mean model?"),
    (lambda: SkyOperator.partial(task_id="t", outputs={"a": {}}).expand(run=["x"]).outputs["b"], "no output 'b'"),
    (lambda: SkyOperator(task_id="t", run="x", outputs={"a": {}}).outputs["a"].map(str), "nothing to map over"),
    (lambda: SkyOperator(task_id="t", run="x", inputs={"x": made()}), "inputs.x: a is a task (write task.outputs"),
    (lambda: SkyOperator(task_id="t", run="x", inputs={"x": [made()]}), "inputs.x: a is a task"),
    (lambda: SkyOperator(task_id="t", run="x", inputs=made()), "Task.t: inputs: a is a task"),
    (lambda: SkyOperator(task_id="t", run="x", inputs={"x": made().output["modle"]}), "Task.a: outputs: no output"),
    (lambda: SkyOperator(task_id="t", run="x", skip_on_exit_code="no"), "Task.t: skip_on_exit_code: 'no' is no exit"),
    (lambda: task.sky(lambda x: x, task_id="t")(made()), "Task.t: arguments: a is a task"),
    (lambda: task.sky(lambda x: x, task_id="t")(x=made().outputs), "arguments.x: these are all outputs of a task"),
    (lambda: task.sky(lambda x: x, task_id="t")(made().output["modle"]), "Task.a: outputs: no output 'modle'"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(envs={"A": "1"}), "envs: ('A', '1') is not a mapping"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(envs=[{}, {"A-B": "1"}]), "'A-B' is not a name of"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(secrets=[{"A": None}]), "secrets: A is None"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand(inputs=[{"x": made()}]), "inputs.x: a is a task"),
    (lambda: SkyOperator.partial(task_id="t", run="x").expand_kwargs([{"evns": {}}]), "evns: not a parameter here"),
    (lambda: SkySensor(task_id="t", job=made()), "Task.t: job: a is a task (write task.output, or a job's id)"),
    (lambda: SkySensor(task_id="t", job=None), "Task.t: job: there is none"),
    (lambda: SkyGcOperator(task_id="t", list_only="ture"), "Task.t: list_only: 'ture' is neither true nor false"),
    (lambda: SkyClusterOperator(task_id="t", engine="mpi"), "Task.t: engine: mpi cannot be used from another host"),
    (lambda: SkyClusterOperator(task_id="t", engine="dusk"), "'dusk' is no engine"),
    (lambda: SkyClusterOperator(task_id="t", engine="dask", run="x"), "Task.t: run: a cluster has none"),
    (lambda: SkyClusterOperator.partial(task_id="t", engine="dask"), "Task.t: a cluster cannot be mapped"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "message"), MAPPED, ids=[message for _, message in MAPPED])
def test_of_what_is_mapped_and_of_functions(write, message):
    with dag(), pytest.raises(SpecError) as caught:
        write()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("sky", "message"),
    [({"minimise": "time"}, "minimise: no such field (did you mean minimize?)"), ({"deadline": "26:00"}, "'26:00'"),
     ({"minimize": "fun"}, "sky: minimize"), ({"budget_usd": -1}, "sky: budget_usd"),
     ("cheap", "'cheap' is not a mapping")],
)  # fmt: skip
def test_of_the_dags_limits(sky, message):
    with dag(default_args={"sky": sky}), pytest.raises(SpecError) as caught:
        SkyOperator(task_id="t", run="x")
    assert message in str(caught.value)


def test_of_a_dag_without_sky_tasks():
    with dag() as found, pytest.raises(SpecError, match="no SkyOperator"):
        pipeline_of(found)


@pytest.mark.parametrize("fields", [{"size_gb": "{{ params.gb }}"}, {"uri": "{{ var.value.bucket }}/x"}])
def test_of_an_artifact_that_takes_no_templates(fields):
    with pytest.raises(SpecError, match=r"is a template; in a DAG write sky_airflow\.Artifact"):
        PlainArtifact(**fields)


RENDERED = [
    (lambda: build_task("t", {"requires": "none at all"}, run="x"), "requires: 'none at all' is not a mapping"),
    (lambda: build_task("t", {"requires": {"cpus": "4 or 5"}}, run="x"), "Task.t: requires: cpus: '4 or 5'"),
    (lambda: build_task("t", {"hours": "long"}, run="x"), "Task.t: hours"),
    (lambda: artifacts("t", {"o": {"uri": "b/x"}}), "Task.t: outputs.o: uri: 'b/x' is not a URI"),
    (lambda: read_inputs("t", {"x": "some/path"}), "Task.t: inputs.x: 'some/path' is neither"),
    (lambda: read_inputs("t", {"x": {"job_id": "j", "outputs": {"a": {}, "b": {}}}}), 'write task.outputs["name"]'),
    (lambda: read_inputs("t", {"x": ["s3://b/1"], "x_0": "s3://b/2"}), "rename one"),
    (lambda: read_inputs("t", 3), "inputs: 3 is not a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), RENDERED, ids=[message for _, message in RENDERED])
def test_of_what_is_known_only_when_it_is_rendered(make, message):
    with pytest.raises(SpecError) as caught:
        make()
    assert message in str(caught.value)


def test_what_a_retry_cannot_mend_is_not_retried():
    for permanent in (SpecError("x"), NoFeasibleOffering("t", "cpus", (), "nothing has 4096 vCPUs")):
        with pytest.raises(AirflowFailException, match=str(permanent)), permanent_errors():
            raise permanent
    with pytest.raises(JobFailed), permanent_errors():
        raise JobFailed("no machine was to be had")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"over": "wait"}, "Task.plan: over: 'wait' is neither 'fail' nor 'ask'"),
        ({"response_timeout": timedelta(hours=1)}, "Task.plan: response_timeout: nobody is asked (write over='ask')"),
        ({"over": "fail", "body": "Mind the month's end."}, "Task.plan: body: nobody is asked"),
        ({"max_usd": "ten"}, "Task.plan: max_usd: 'ten' is not a number"),
        ({"max_hours": -1}, "Task.plan: max_hours: -1 is no amount"),
    ],
)
def test_a_plan_that_cannot_be_asked_about(fields, message):
    with dag(), pytest.raises(SpecError) as caught:
        SkyPlanOperator(task_id="plan", **fields)
    assert message in str(caught.value)


def test_planning_has_a_limit_of_its_own_time():
    hour = timedelta(hours=1)
    with dag(default_args={"execution_timeout": hour}):
        plan = SkyPlanOperator(task_id="plan", over="ask")
        patient = SkyPlanOperator(task_id="patient", over="ask", response_timeout=2 * hour)
    assert (plan.execution_timeout, plan.response_timeout) == (hour, None)
    assert (patient.execution_timeout, patient.response_timeout) == (hour, 2 * hour)


def test_without_operators_that_ask_people_it_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.hitl", None)
    monkeypatch.delitem(sys.modules, "sky_airflow.operators.plan")
    with pytest.raises(MissingExtra, match="operators that ask people is not installed"):
        importlib.import_module("sky_airflow.operators.plan")
