"""Specs say what is wrong by naming the field, and survive JSON."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_core import Artifact, Objective, OutputRef, Pipeline, Resources, Task
from sky_core.errors import SpecError
from sky_core.spec import Amount, parse_hours


def task(name="t", **fields):
    return Task(name=name, run="true", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hours": -1}, "Task.t: hours: an estimate must be positive and finite, not -1"),
        ({"hours": 0}, "Task.t: hours: an estimate"),
        ({"hours": math.nan}, "Task.t: hours: an estimate"),
        ({"hours": {"V100": math.inf}}, "Task.t: hours: an estimate"),
        ({"resources": {"cpus": "many"}}, "cpus: 'many' is not an amount"),
        ({"resources": {"accelerators": "V100:0"}}, "accelerators: 'V100:0' is not an accelerator"),
        ({"resources": {"queue": True}}, "queue: a time, e.g. 30m"),
        ({"resources": {"gpus": 4}}, "gpus: no such field"),
        ({"num_nodes": 0}, "Task.t: num_nodes:"),
        ({"inputs": {"x": "no-uri"}}, "Task.t: inputs.x: 'no-uri' is neither a URI nor 'task.output'"),
        ({"inputs": {"a b": "s3://b/x"}}, "Task.t: inputs: 'a b' cannot name"),
        ({"outputs": {"x": {"uri": "nowhere"}}}, "outputs.x: uri: 'nowhere' is not a URI"),
        (
            {"inputs": {"x": "s4://b/x"}},
            "Task.t: inputs.x: uri: 's4://b/x': no store is reached by s4://; write one of abfs",
        ),
        ({"mounts": {"/d": "s4://b"}}, "Task.t: mounts./d: uri: 's4://b': no store is reached by s4://"),
        ({"outputs": {"x": {"size_gb": -1}}}, "outputs.x: size_gb:"),
        ({"envs": None}, "Task.t: envs: has to be a mapping"),
        ({"envs": {"1X": "a"}}, "Task.t: envs: '1X' is not a name"),
        ({"checkpoint": "soon"}, "interval: 'soon' is not a duration"),
        ({"deadline": datetime(2030, 1, 1)}, "Task.t: deadline: a deadline needs a time zone"),
        ({"bogus": 1}, "Task.t: bogus: no such field"),
        ({"function": "abc"}, "Task.t: run: give a command or a function, not both"),
    ],
)
def test_a_mistake_is_named_by_its_field(fields, message):
    with pytest.raises(SpecError) as caught:
        task(**fields)
    assert message in str(caught.value)


def test_a_task_needs_something_to_run():
    with pytest.raises(SpecError, match="needs a command to run"):
        Task(name="t")


@pytest.mark.parametrize(
    "accelerators",
    ["V100:4", {"V100": 4}, ["V100:4"], {"V100:4"}, [("V100", 4)], [["V100", 4.0]]],
)
def test_accelerators_are_written_in_many_ways_and_mean_one_thing(accelerators):
    assert Resources(accelerators=accelerators).accelerators == (("V100", 4.0),)


def test_a_list_of_accelerators_means_any_of_them_in_its_order():
    assert Resources(accelerators=["tpu-v3-8", "V100:4"]).accelerators == (("tpu-v3-8", 1.0), ("V100", 4.0))


@given(st.floats(0.001, 1e5), st.floats(0, 1e5))
def test_amounts_contain_what_they_say(low, more):
    high = low + more
    assert low in Amount.parse(f"{low:f}+") or low < float(f"{low:f}")
    exact = Amount.parse(low)
    assert low in exact
    assert high == low or high not in exact


@pytest.mark.parametrize(
    ("text", "hours"), [("90s", 0.025), ("30m", 0.5), ("1.5h", 1.5), ("2d", 48), (3, 3), (timedelta(minutes=6), 0.1)]
)
def test_durations(text, hours):
    assert parse_hours(text) == pytest.approx(hours)


def vision():
    process = task("process", outputs={"images": Artifact(size_gb=1)})
    train = task("train", inputs={"images": process.output("images")}, outputs={"model": Artifact(size_gb=0.1)},
                 resources=Resources(accelerators=["V100:4", "tpu-v3-8"], use_spot=True, cpus="8+"),
                 hours={"V100:4": 9, "tpu-v3-8": 5.4}, checkpoint="10m")  # fmt: skip
    infer = task("infer", inputs={"model": "train.model", "images": "process.images"})
    return Pipeline(name="vision", tasks=(process, train, infer), order=(("process", "infer"),))


def test_a_pipeline_survives_json():
    assert Pipeline.model_validate_json(vision().model_dump_json()) == vision()


def test_edges_come_from_inputs_and_order():
    pipeline = vision()
    assert pipeline.data_edges() == {("process", "train"): 1, ("train", "infer"): 0.1, ("process", "infer"): 1}
    assert sorted(pipeline.edges()) == [("process", "infer"), ("process", "train"), ("train", "infer")]


def test_a_cycle_is_named():
    first = task("a", outputs={"o": Artifact()}, inputs={"i": "b.o"})
    second = task("b", outputs={"o": Artifact()}, inputs={"i": "a.o"})
    with pytest.raises(SpecError, match=r"cycle: (a -> b -> a|b -> a -> b)"):
        Pipeline(tasks=(first, second))


def test_an_input_that_is_nobodys_output_is_named():
    with pytest.raises(SpecError, match=r"tasks.b.inputs.i: a.o is nobody's output: a has \['x'\]"):
        Pipeline(tasks=(task("a", outputs={"x": Artifact()}), task("b", inputs={"i": "a.o"})))
    with pytest.raises(SpecError, match="there is no task 'zz'"):
        Pipeline(tasks=(task("b", inputs={"i": OutputRef(task="zz", output="o")}),))
    with pytest.raises(SpecError, match="no output 'y'; it has"):
        task("a", outputs={"x": Artifact()}).output("y")


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(SpecError, match="two tasks are called 'a'"):
        Pipeline(tasks=(task("a"), task("a")))


def test_a_deadline_in_the_past_is_refused_when_planning():
    past = datetime.now(UTC) - timedelta(hours=1)
    with pytest.raises(SpecError, match=r"deadline: .* is in the past"):
        Objective(deadline=past).deadline_hours()
    with pytest.raises(SpecError, match=r"Task.t: deadline: .* is in the past"):
        task(deadline=past).hours_to_deadline(datetime.now(UTC))
    assert Objective(deadline="6h").deadline_hours() == 6


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_names_that_differ_by_case_only_would_share_a_variable(field):
    given = {name: Artifact(uri=f"s3://b/{name}") for name in ("model", "Model", "data")}
    with pytest.raises(SpecError, match=f"{field}: Model and model differ by case only"):
        Task(name="t", run="x", **{field: given})
    del given["Model"]
    assert set(getattr(Task(name="t", run="x", **{field: given}), field)) == {"model", "data"}


@pytest.mark.parametrize(("name", "word"), [("n" * 501, "at most 500 characters"), ("a\0b", "name")])
def test_a_pipeline_has_a_name_that_every_database_can_find_it_by(name, word):
    with pytest.raises(SpecError, match=word):
        Pipeline(name=name, tasks=(Task(name="t", run="true"),))
    assert Pipeline(name="é" * 500, tasks=(Task(name="t", run="true"),)).name == "é" * 500
