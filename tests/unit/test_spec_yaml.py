"""SkyPilot's files load as tasks; pipelines load as chains or with named edges."""

import pytest

from sky_core import load_pipeline, load_task
from sky_core.errors import SpecError
from sky_core.spec import Artifact

SKYPILOT = """
name: train
resources:
  accelerators: {V100: 4}
  infra: aws/us-east-1
  use_spot: true
  disk_size: 256
num_nodes: 2
workdir: src
envs:
  LR: 0.1
file_mounts:
  /data: s3://my-data
setup: pip install -r requirements.txt
run: python train.py
"""


def write(folder, text):
    path = folder / "task.yaml"
    path.write_text(text)
    return path


def test_a_skypilot_task_loads(tmp_path):
    task = load_task(write(tmp_path, SKYPILOT))
    assert task.name == "train"
    assert task.num_nodes == 2
    assert task.resources.accelerators == (("V100", 4.0),)
    assert (task.resources.cloud, task.resources.region) == (("aws",), ("us-east-1",))
    assert task.resources.use_spot
    assert task.workdir == str(tmp_path / "src")
    assert task.envs["LR"] == "0.1"
    assert task.inputs == {"mount_0": Artifact(uri="s3://my-data")}
    assert "$SKY_INPUT_MOUNT_0" in task.setup
    assert task.setup.endswith("pip install -r requirements.txt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: x\nbogus: 1", "Task.task: bogus: no such field"),
        ("run: x\nsecrets: {TOKEN: abc}", "secrets: give names only"),
        ("run: x\nfile_mounts: {/data: ./local}", "file_mounts./data: only buckets"),
        ("run: x\nresources: {any_of: [{cloud: aws}]}", "resources.any_of: alternatives may differ in accelerators"),
        ("- a\n- b", "must be a mapping"),
        ("run: [", "task.yaml"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, text, message):
    with pytest.raises(SpecError) as caught:
        load_task(write(tmp_path, text))
    assert message in str(caught.value)


def test_several_documents_are_a_chain(tmp_path):
    pipeline = load_pipeline(write(tmp_path, "name: p\n---\nname: a\nrun: x\n---\nname: b\nrun: y\n"))
    assert (pipeline.name, pipeline.order) == ("p", (("a", "b"),))


def test_tasks_may_be_named_with_their_edges(tmp_path):
    text = """
name: p
tasks:
  - {name: a, run: x, outputs: {o: {size_gb: 2}}}
  - {name: b, run: y, inputs: {i: a.o}, hours: {T4: 1.5}}
order: [[a, b]]
"""
    pipeline = load_pipeline(write(tmp_path, text))
    assert pipeline.data_edges() == {("a", "b"): 2}
    assert pipeline.task("b").hours == {"T4": 1.5}


def test_any_of_accelerators(tmp_path):
    task = load_task(write(tmp_path, "run: x\nresources: {any_of: [{accelerators: 'V100:4'}, {accelerators: T4}]}"))
    assert task.resources.accelerators == (("V100", 4.0), ("T4", 1.0))
