"""Files of others as ours, with what became of each line; and the page and the schema that tell what files may say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sky_core.cli.app import app
from sky_core.errors import SpecError
from sky_core.spec_yaml import Given, load
from sky_core.spec_yaml.fields import ResourceFields, TaskFields
from sky_core.spec_yaml.foreign.importing import imported
from sky_core.spec_yaml.reference import json_schema, page

SKYPILOT = """\
name: train
num_nodes: 2
workdir: .
envs: {LR: 0.10, TOKEN: }
secrets: [API_TOKEN]
resources:
  accelerators: {A100:8, T4:1}
  memory: 32GB+
  autostop: 10
  any_of:
    - {infra: aws/us-east-1, use_spot: true}
    - {infra: gcp, disk_size: 1TB}
file_mounts:
  /data: s3://bucket/data
  /ckpt: {name: team-ckpt, store: gcs, mode: MOUNT}
  ~/conf: ./conf
setup: |
  pip install x
  echo "done"
run: python train.py
"""
DSTACK = """\
type: task
name: train
python: "3.12"
nodes: 2
env: [TOKEN, LR=0.1]
commands: [pip install x, python train.py]
resources: {gpu: "H100:80GB:8", cpu: 16.., memory: 64GB..128GB, shm_size: 8GB}
backends: [aws]
spot_policy: auto
max_price: 30
"""


def write(folder, text):
    path = folder / "task.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        SKYPILOT,
        "name: p\n---\nname: a\nrun: x\n---\nname: b\nrun: y\nenvs: {A: 1}",
        "minimize: time\nbudget: 4\ntasks:\n  a: {run: x, outputs: {o: {size_gb: 2}}}\n  b: {run: y, inputs: {i: a.o}}",
        "run: x\nresources: {ordered: [{accelerators: V100, image_id: {us-east-1: i, us-west-2: j}}, {cpus: 4}]}",
        DSTACK,
    ],
)
def test_what_is_written_means_the_same(tmp_path, text):
    text, _ = imported(write(tmp_path, text), Given(environ={}))
    given = Given(environ={"TOKEN": "t"})
    again, _ = imported(write(tmp_path, text), Given(environ={}))
    assert load(write(tmp_path, text), given).pipeline == load(write(tmp_path, again), given).pipeline
    assert "pip install x\n  " in again or "pip install" not in again  # scripts stay readable


def test_a_skypilot_file_is_kept_whole(tmp_path):
    given = Given(environ={"TOKEN": "t"})
    before = load(write(tmp_path, SKYPILOT), given).pipeline
    text, _ = imported(write(tmp_path, SKYPILOT), Given(environ={}))
    assert load(write(tmp_path, text), given).pipeline == before


def test_each_line_is_told(tmp_path):
    _, lines = imported(write(tmp_path, SKYPILOT + "event_callback: ./tell\n"), Given(environ={}))
    told = {line.field: (line.number, line.fate) for line in lines}
    assert told["resources.autostop"] == (9, "dropped")
    assert told["file_mounts./data"] == (14, "taken")
    assert told["event_callback"] == (21, "dropped")
    assert {field for field, (_, fate) in told.items() if fate != "taken"} == {"resources.autostop", "event_callback"}


def test_a_dstack_task(tmp_path):
    text, lines = imported(write(tmp_path, DSTACK), Given(environ={}))
    task = load(write(tmp_path, text), Given(environ={"TOKEN": "t"})).pipeline.tasks[0]
    assert (task.num_nodes, task.envs, task.run) == (
        2,
        {"TOKEN": "t", "LR": "0.1"},
        "set -e\npip install x\npython train.py",
    )
    wanted = task.resources
    assert (wanted.accelerators, wanted.use_spot, wanted.max_hourly_cost) == ((("H100", 8.0),), True, 30)
    assert (wanted.cpus.low, wanted.memory.low, wanted.memory.high) == (16, 64, 128)
    assert [str(line) for line in lines if line.fate == "dropped"] == [
        "3: python: dropped: the image's own Python is used; install another in setup",
        "7: resources.shm_size: dropped: Skyloom's machines have it as their cloud gives it",
    ]
    with pytest.raises(SpecError, match=r"task.yaml:1: Task.task: type: a service is no job \(import"):
        imported(write(tmp_path, "type: service\nport: 80\n"), Given())


def test_on_the_command_line(tmp_path):
    file = write(tmp_path, "run: x\nresources: {infra: aws, priority: 500}\n")
    done = CliRunner().invoke(app, ["import", str(file), "-o", str(tmp_path / "ours.yaml")])
    assert done.exit_code == 0
    assert f"{file}:2: resources.priority: dropped: left out" in done.stderr
    assert load(tmp_path / "ours.yaml").pipeline.tasks[0].resources.cloud == ("aws",)


def test_the_page_is_fresh():
    """Write it anew: python -c 'from sky_core.spec_yaml.reference import page; print(page(), end="")' > docs/yaml.md"""
    assert (Path(__file__).parents[3] / "docs/yaml.md").read_text() == page()


def test_the_schema_for_editors_has_every_field():
    printed = CliRunner().invoke(app, ["import", "--json-schema"]).stdout
    assert json.loads(printed) == json_schema()
    defined = json_schema()["$defs"]
    assert defined["TaskFields"]["properties"].keys() == TaskFields.model_fields.keys()
    assert defined["ResourceFields"]["properties"].keys() == ResourceFields.model_fields.keys()


@pytest.mark.parametrize("model", [TaskFields, ResourceFields])
def test_every_example_is_one(tmp_path, model):
    import yaml

    for name, field in model.model_fields.items():
        example = yaml.safe_load(field.examples[0])
        assert list(example) == [name]
        model.model_validate(example)
