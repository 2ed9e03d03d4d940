"""Engines as a task names them: one word or a mapping, kept over JSON and files, mistakes in one line."""

from __future__ import annotations

import pytest

from sky_core import Resources, Task, load_task
from sky_core.errors import SpecError
from sky_core.remote.agent.engines import running
from sky_core.spec.engine import ENGINES, SPREAD, Dask
from sky_core.spec_yaml import Given


def test_numbers_and_truths_are_lines_of_sparks_settings_too():
    conf = {"spark.sql.shuffle.partitions": 64, "spark.speculation": True, "spark.app.name": "a"}
    asked = Task(name="a", run="x", engine={"name": "spark", "conf": conf})
    assert asked.engine.conf == {
        "spark.sql.shuffle.partitions": "64", "spark.speculation": "true", "spark.app.name": "a",
    }  # fmt: skip
    assert Task.model_validate_json(asked.model_dump_json()) == asked


def test_the_machines_know_the_same_engines_and_which_of_them_run_the_command_everywhere():
    assert running.ENGINES.keys() == ENGINES.keys()
    assert {name for name, engine in running.ENGINES.items() if engine.spread} == SPREAD


@pytest.mark.parametrize("name", ENGINES)
def test_one_word_is_enough_and_is_kept(name):
    task = Task(name="a", run="x", num_nodes=2, engine=name)
    assert task.engine == ENGINES[name]()
    assert Task.model_validate_json(task.model_dump_json()).engine == task.engine


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (
            "dusk",
            "Task.a: engine: 'dusk' is no engine: one of torchrun, mpi, ray, dask, spark, jax; did you mean dask?",
        ),
        (
            {"name": "dask", "workrs": 2},
            "Task.a: engine: dask has no option 'workrs': it has memory, ready_s, threads, workers; "
            "did you mean workers?",
        ),
        ({"name": "dask", "workers": 0}, "Task.a: engine: workers: has to be 1 or more"),
        ({"workers": 2}, "Task.a: engine: its name is missing: one of torchrun, mpi"),
        ({"name": "dask", "memory": "lots"}, "engine: memory: 'lots' is no amount of memory; write e.g. '4GiB'"),
        ({"name": "spark", "memory": "1x"}, "engine: memory: '1x' is no amount of memory; write e.g. '12g'"),
        ({"name": "ray", "ready_s": float("inf")}, "ready_s"),
    ],
)
def test_a_mistake_is_one_line(engine, message):
    with pytest.raises(SpecError) as caught:
        Task(name="a", run="x", engine=engine)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value.args[0])


def test_what_serves_a_command_is_not_run_in_containers():
    boxed = Resources(image="docker:python:3.12")
    assert Task(name="a", run="x", engine="torchrun", resources=boxed).engine
    with pytest.raises(SpecError, match=r"Task\.a: engine: ray is not run in containers"):
        Task(name="a", run="x", engine="ray", resources=boxed)


def test_files_name_it_too(tmp_path):
    file = tmp_path / "task.yaml"
    file.write_text("name: a\nrun: x\nnum_nodes: 2\nengine: {name: dask, workers: 2}\n")
    assert load_task(file, Given(environ={})).engine == Dask(workers=2)
    file.write_text("name: a\nrun: x\nengine: dusk\n")
    with pytest.raises(SpecError, match=r"task.yaml:3: .*engine: 'dusk' is no engine.*did you mean dask"):
        load_task(file, Given(environ={}))
    file.write_text("name: a\nrun: x\nengine: {name: dask, worker: 2}\n")
    with pytest.raises(SpecError, match=r"task.yaml:3: Task.a: engine: dask has no option 'worker'"):
        load_task(file, Given(environ={}))


@pytest.mark.parametrize("memory", ["auto", "4GiB", "4 GiB", "0.5", "4e9", "512mb", "0"])
def test_dasks_amounts_of_memory(memory):
    assert Dask(memory=memory).memory == memory
