"""Task files: SkyPilot's format and ours, what is made of each field, and mistakes as one line with their place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from sky_core import load_pipeline, load_task
from sky_core.errors import SpecError
from sky_core.facts import CloudFacts, clouds
from sky_core.spec import Artifact, Mount
from sky_core.spec_yaml import Given, load, machines
from sky_core.spec_yaml.machines import FEATURES

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
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(folder, text, **given):
    return load_task(write(folder, text), Given(**{"environ": {}, **given}))


def resources(folder, text):
    return loaded(folder, f"run: x\nresources: {text}").resources


def test_a_skypilot_task_loads(tmp_path):
    task = load_task(write(tmp_path, SKYPILOT))
    assert task.name == "train"
    assert task.num_nodes == 2
    assert task.resources.accelerators == (("V100", 4.0),)
    assert (task.resources.cloud, task.resources.region) == (("aws",), ("us-east-1",))
    assert task.resources.use_spot
    assert task.workdir == str(tmp_path / "src")
    assert task.envs["LR"] == "0.1"
    assert task.mounts == {"/data": Mount(uri="s3://my-data")}
    assert task.given == {"/data": Artifact(uri="s3://my-data")}
    assert task.setup == "pip install -r requirements.txt"


REFUSED = {
    "run: x\nbogus: 1": "task.yaml:2: Task.task: bogus: no such field (there are ",
    "name: n\nresorces: {cpus: 4}\nrun: x": "task.yaml:2: Task.n: resorces: no such field (did you mean resources?)",
    "run: x\nresources:\n  acelerators: T4": "task.yaml:3: Task.task: resources.acelerators: no such field (did you",
    "run: x\nlabels: {team: ml}": "task.yaml:2: Task.task: labels: no such field (write it below resources)",
    "run: x\non: push": "task.yaml:2: Task.task: on: no such field",
    "run: a\nrun: b": "task.yaml:2: run: given twice, in line 1 and here",
    "run: x\nenvs: {A: 1, A: 2}": "task.yaml:2: A: given twice",
    b"name: n\nrun: echo caf\xe9": "task.yaml:2: byte 0xe9 is not UTF-8 (save the file as UTF-8)",
    "- a\n- b": "task.yaml:1: not a task or pipeline: each document must be a mapping",
    "run: [": "task.yaml:1: ",
    "run: x\nenvs: &e {A: *e}": "task.yaml:2: an anchor is used within itself",
    "run: !!python/object/apply:os.getcwd []": "task.yaml:1: the tag !!python/object/apply:os.getcwd is not understood",
    "run: x\n? [a]\n: b": "task.yaml:2: a key has to be a word",
    "": "task.yaml: there is nothing in it",
    "run: x\nresources: 2CPU": "task.yaml:2: Task.task: resources: has to be a mapping, not '2CPU' (write e.g. ",
    "run: x\nenvs: [A=1]": "task.yaml:2: Task.task: envs: has to be a mapping, not ['A=1'] (write",
    "run: x\ninputs: [s3://b/x]": "task.yaml:2: Task.task: inputs: has to be a mapping",
    "run: x\nfile_mounts: [s3://b/x]": "task.yaml:2: Task.task: file_mounts: has to be a mapping",
    "run: x\nnum_nodes: 0": "task.yaml:2: Task.task: num_nodes: has to be 1 or more, not 0",
    "run: x\nnum_nodes: two": "task.yaml:2: Task.task: num_nodes: has to be a whole number, not 'two'",
    "run: x\nresources: {use_spot: maybe}": "task.yaml:2: Task.task: resources.use_spot: has to be true or false",
    "run: x\nhours: 1:30": "task.yaml:2: Task.task: hours: '1:30' is not a duration; write e.g. '30s'",
    "run: x\ndeadline: 12:30": "task.yaml:2: Task.task: deadline: '12:30' is neither a duration nor a point in time",
    "run: x\ndeadline: 2030-12-01": "task.yaml:2: Task.task: deadline: a deadline needs a time zone",
    "run: x\nenvs: {URL: }": "task.yaml:2: Task.task: envs.URL: has no value (give --env URL=value",
    "run: x\nworkdir: $PLACE": "task.yaml:2: Task.task: workdir: ${PLACE} has no value (add PLACE to envs",
    "run: x\nservice: {replicas: 2}": "task.yaml:2: Task.task: service: Skyloom runs jobs to their end and does not",
    "setup: x\npool: {workers: 2}": "task.yaml:2: Task.task: pool: Skyloom keeps no pool of machines (take pool out",
    "run: x\nvolumes: {/mnt: v}": "task.yaml:2: Task.task: volumes: disks that outlive a job are not kept (keep",
    "run: x\nresources: {infra: k8s/mine}": "Task.task: resources.infra: Kubernetes is none of Skyloom's clouds (leave",
    "run: x\nresources: {any_of: [{cpus: 2}], ordered: [{cpus: 4}]}": "ordered: any_of and ordered cannot stand",
    "run: x\nresources: {any_of: [{ordered: [{cpus: 2}]}]}": "alternatives of their own (write each combination",
    "run: x\nresources: {infra: a/b/c/d}": "resources.infra: 'a/b/c/d' has too many parts",
    "run: x\nresources: {infra: lambda}": "resources.infra: lambda is none of Skyloom's clouds (write one of aws",
    "run: x\nresources: {image_id: 'docker:'}": "docker: without the name of an image",
    "run: x\nresources: {queue: soon}": "resources.queue: 'soon' is not a duration; write e.g. '30s'",
    "run: x\nresources: {queue: true}": "resources.queue: a time, e.g. 30m",
    "run: x\nresources: {accelerator_args: {gcp_queued_resource: 1}}": "gcp_queued_resource: 1 is neither true nor",
    "run: x\nresources: {disk_size: huge}": "resources.disk_size: 'huge' is not a size; write e.g. 256",
    "run: x\nresources: {memory: lots}": "resources.memory: 'lots' is not an amount of memory",
    "run: x\nresources: {cpus: 4x}": "resources.cpus: only memory is counted for each vCPU",
    "run: x\nresources: {ports: 0-80}": "resources.ports: '0-80' is no port from 1 to 65535",
    "run: x\nresources: {accelerators: 'T4:x'}": "resources.accelerators: 'T4:x' is not an accelerator with its number",
    "run: x\nresources: {labels: {confidental: sgx}}": "resources.labels.confidental: a tag, or a need? did you mean",
    "run: x\nfile_mounts: {/d: r2://b/x}": "file_mounts./d: r2:// is none of the stores that Skyloom reads",
    "run: x\nfile_mounts: {/d: {mode: MOUNT}}": "file_mounts./d: says neither name nor source",
    "run: x\nfile_mounts: {/d: {name: my_bucket}}": "file_mounts./d.name: 'my_bucket' cannot name a bucket",
    "run: x\nfile_mounts: {/d: {source: s3://b, mode: MUONT}}": "mode: 'MUONT' is no mode (did you mean MOUNT?)",
    "name: lonely": "task.yaml:1: Task.lonely: run: a task needs a command to run",
    "tasks:\n  - {run: x}\n  - {name: b, run: x, cpu: 2}": "task.yaml:3: Task.b: cpu: no such field",
    "tasks:\n- {name: a, run: x}\norder: [[a, c]]": "task.yaml:3: Pipeline: order.0: 'c' is no task of this pipeline",
    "tasks:\n- {name: a, run: x}\nbudgt: 4": "task.yaml:3: Pipeline: budgt: no such field (did you mean budget",
    "tasks:\n- {name: a, run: x}\nsetup: y": "task.yaml:3: Pipeline: setup: is said by each task",
    "run: x\nenvs:\n  A: 1\n\n4\n": "task.yaml:6: while scanning a simple key could not find expected ':' (each line",
    "run: echo a: b": "task.yaml:1: mapping values are not allowed here (each line is `name: value`, indented",
    "run: x\nresources: {cloud: local}": "task.yaml:2: Task.task: resources.cloud: local is none of Skyloom's clouds (",
    "tasks: [x]": "task.yaml:1: Pipeline: tasks.0: has to be a mapping",
}


@pytest.mark.parametrize("text", REFUSED, ids=str)
def test_a_mistake_is_one_line_with_its_place_and_cure(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        load("task.yaml", Given(environ={}))
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_few_lines_cannot_unfold_without_end(tmp_path):
    lines = ["run: x", "envs: {A: &a0 [x, x]}"] + [
        f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)
    ]
    with pytest.raises(SpecError, match=r"the file unfolds to more than 20,000 values"):
        load_task(write(tmp_path, "\n".join(lines)))
    with pytest.raises(SpecError, match="nested too deeply"):
        load_task(write(tmp_path, "run: x\nenvs: " + "[" * 5000))


def test_variables_are_what_the_file_says(tmp_path):
    text = """
run: x
envs: {FLAG: true, MODE: 0755, CLOCK: 12:30, VERSION: 1.10, BIG: 1_000, QUOTED: "1.10", WORD: on, NOTHING: ""}
"""
    assert loaded(tmp_path, text).envs == {
        "FLAG": "true", "MODE": "0755", "CLOCK": "12:30", "VERSION": "1.10", "BIG": "1_000", "QUOTED": "1.10",
        "WORD": "on", "NOTHING": "",
    }  # fmt: skip


def test_a_mapping_in_a_variable_is_json(tmp_path):
    task = loaded(tmp_path, "run: x\nenvs: {SETTINGS: {lr: 0.1, layers: [1, 2]}}")
    assert task.envs["SETTINGS"] == '{"lr": 0.1, "layers": [1, 2]}'


def test_a_variable_without_value_comes_from_outside(tmp_path):
    text = "run: x\nenvs: {URL: , EPOCHS: 1}\nfile_mounts: {/d: 's3://${URL}/x'}"
    assert loaded(tmp_path, text, environ={"URL": "here"}).envs == {"URL": "here", "EPOCHS": "1"}
    task = loaded(tmp_path, text, envs={"URL": "there", "EPOCHS": "2", "MORE": "3"})
    assert task.envs == {"URL": "there", "EPOCHS": "2", "MORE": "3"}
    assert task.mounts["/d"].uri == "s3://there/x"


@pytest.mark.parametrize(
    ("secrets", "names"),
    [("API_TOKEN", ("API_TOKEN",)), ("[A, B]", ("A", "B")), ("{A: , B: change-me}", ("A", "B"))],
)
def test_secrets(tmp_path, secrets, names):
    task = loaded(tmp_path, f"run: x\nsecrets: {secrets}")
    assert task.secrets == names
    assert "change-me" not in f"{task!r} {task.model_dump_json()}"


def test_a_secret_in_the_file_counts_where_none_is_set(tmp_path):
    from sky_core.broker.submission import secrets_of

    task = loaded(tmp_path, "run: x\nsecrets: {TOKEN: change-me}")
    assert secrets_of(task, {}) == {"TOKEN": "change-me"}
    assert secrets_of(task, {"TOKEN": "mine"}) == {"TOKEN": "mine"}


def test_variables_stand_for_their_values_in_mounts_and_workdir(tmp_path):
    text = """
run: x
envs: {BUCKET: team-bucket, SIZE: 7b}
workdir: $SIZE
file_mounts:
  /models/${SIZE}: s3://${BUCKET}/models
  /out: {name: "${BUCKET}", mode: MOUNT}
"""
    task = loaded(tmp_path, text)
    assert task.mounts["/models/7b"].uri == "s3://team-bucket/models"
    assert task.mounts["/out"].bucket == "team-bucket"
    assert task.workdir == str(tmp_path / "7b")


@pytest.mark.parametrize(
    ("written", "mount"),
    [
        ("./settings.yaml", Mount(source="HERE/settings.yaml")),
        ("gs://b/x/", Mount(uri="gs://b/x")),
        ("https://acct.blob.core.windows.net/box/x", Mount(uri="az://acct/box/x")),
        ("{source: s3://b/x}", Mount(uri="s3://b/x", write_back=True)),
        ("{source: s3://b/x, mode: mount_cached, type: MODEL_CHECKPOINT_RW}", Mount(uri="s3://b/x", write_back=True)),
        ("{source: s3://b/x, mode: COPY}", Mount(uri="s3://b/x")),
        ("{name: team-ckpt, mode: MOUNT}", Mount(bucket="team-ckpt", write_back=True)),
        ("{name: team-data, source: ., store: gcs, mode: COPY}",
         Mount(bucket="team-data", store="gcp", source="HERE", write_back=True)),
    ],
)  # fmt: skip
def test_mounts(tmp_path, written, mount):
    task = loaded(tmp_path, f"run: x\nfile_mounts: {{/there: {written}}}")
    here = mount.source and str(Path(mount.source.replace("HERE", str(tmp_path))))
    assert task.mounts == {"/there": mount.model_copy(update={"source": here})}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("{disk_size: 1TB}", "disk_size", 1024),
        ("{disk_size: 500Gi}", "disk_size", 500),
        ("{disk_size: 100}", "disk_size", 100),
        ("{ephemeral_storage: 2TB}", "disk_size", 2048),
        ("{ports: 8000-8003}", "ports", (8000, 8001, 8002, 8003)),
        ("{ports: [22, '80-81', 22]}", "ports", (22, 80, 81)),
        ("{labels: {team: research}}", "tags", {"team": "research"}),
        ("{labels: {confidential: sgx}}", "labels", {"confidential": "sgx"}),
        ("{features: {confidential: true}}", "labels", {"confidential": True}),
        ("{infra: '*/eu-west-1'}", "region", ("eu-west-1",)),
        ("{infra: ''}", "cloud", ()),
        ("{infra: , cloud: GCP}", "cloud", ("gcp",)),
        ("{accelerators: {'A100:8', 'T4:1'}}", "accelerators", (("A100", 8.0), ("T4", 1.0))),
        ("{accelerators: ['A100:8', T4]}", "accelerators", (("A100", 8.0), ("T4", 1.0))),
        ("{accelerators: 'T4:0.5'}", "accelerators", (("T4", 0.5), ("T4", 1.0))),
        ("{accelerators: 'Inferentia:6'}", "accelerators", (("Inferentia", 6.0), ("Inferentia2", 6.0))),
        ("{accelerators: tpu-v3-8, accelerator_args: {runtime_version: v, tpu_vm: true}}", "image", "v"),
        ("{image_id: {us-east-1: ami-1}}", "image", "ami-1"),
        ("{image_id: 'skypilot:gpu-ubuntu-2204'}", "image", None),
        ("{max_hourly_cost: 2.5}", "max_hourly_cost", 2.5),
        ("{queue: 30m}", "queue", 0.5),
        ("{queue: 2}", "queue", 2.0),
        ("{}", "queue", None),
        ("{accelerators: tpu-v3-8, accelerator_args: {gcp_queued_resource: true}}", "queue", 0.5),
        ("{accelerators: tpu-v3-8, accelerator_args: {gcp_queued_resource: true}, queue: 2h}", "queue", 2.0),
        ("{accelerators: tpu-v3-8, accelerator_args: {gcp_queued_resource: false}}", "queue", None),
    ],
)  # fmt: skip
def test_resources(tmp_path, text, field, value):
    assert getattr(resources(tmp_path, text), field) == value


@pytest.mark.parametrize(
    ("memory", "low", "high", "per_cpu"),
    [
        ("32GB+", 32, math.inf, False),
        ("64", 64, 64, False),
        ("16-0.5TB", 16384, 512, False),
        ("4x", 4, math.inf, True),
        ("16-64GB", 16, 64, False),
        ("2048mb", 2, 2, False),
    ],
)
def test_memory_with_its_unit(tmp_path, memory, low, high, per_cpu):
    if low > high:  # a unit belongs to what it stands by, or to both
        with pytest.raises(SpecError, match="empty range"):
            resources(tmp_path, f"{{memory: {memory}}}")
        return
    amount = resources(tmp_path, f"{{memory: {memory}}}").memory
    assert (amount.low, amount.high, amount.per_cpu) == (low, high, per_cpu)


def test_alternatives_may_differ_in_anything(tmp_path):
    found = resources(tmp_path, "{accelerators: T4, any_of: [{infra: aws/us-east-1, use_spot: true}, {infra: gcp}]}")
    assert [(one.cloud, one.use_spot, one.accelerators) for one in found.alternatives] == [
        (("aws",), True, (("T4", 1.0),)), (("gcp",), False, (("T4", 1.0),)),
    ]  # fmt: skip
    assert resources(tmp_path, "{any_of: [{accelerators: 'V100:4'}, {accelerators: T4}]}").may_use_spot is False
    as_before = resources(tmp_path, "{cloud: aws, candidates: [{accelerators: 'T4:8'}, {accelerators: 'V100:8'}]}")
    assert [one.accelerators for one in as_before.alternatives] == [(("T4", 8.0),), (("V100", 8.0),)]


def test_an_image_for_each_region_allows_those_regions(tmp_path):
    found = resources(tmp_path, "{infra: aws, image_id: {us-east-1: ami-1, us-west-2: ami-2}}")
    assert [(one.region, one.image) for one in found.alternatives] == [
        (("us-east-1",), "ami-1"), (("us-west-2",), "ami-2"),
    ]  # fmt: skip


def test_alternatives_elsewhere_are_left_out_with_a_word(tmp_path):
    text = "run: x\nresources: {accelerators: T4, any_of: [{infra: k8s}, {infra: aws}]}"
    file = load(write(tmp_path, text))
    assert file.pipeline.tasks[0].resources.cloud == ("aws",)
    assert "resources.any_of.0.infra: left out: Kubernetes" in str(file.notes[0])


def test_a_cloud_that_a_package_has_added_is_ours(tmp_path, monkeypatch):
    added = {"lambda": CloudFacts(name="lambda", provider="x:X")}
    monkeypatch.setattr(machines, "clouds", lambda: {**clouds(), **added})
    assert resources(tmp_path, "{cloud: lambda}").cloud == ("lambda",)


def test_what_is_empty_is_as_if_it_were_not_there(tmp_path):
    text = (
        "run: x\nenvs:\nsecrets:\nresources: {cloud: , region: , ports: , labels: , accelerators: , any_of: , cpus: 2}"
    )
    assert loaded(tmp_path, text).resources.cpus.low == 2


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("resources: {autostop: {idle_minutes: 10}}", "resources.autostop: left out: a job ends its machines"),
        ("resources: {priority: 500}", "resources.priority: left out"),
        ("resources: {network_tier: best}", "resources.network_tier: machines talk over"),
        ("config: {aws: {vpc_names: [x]}}", "config: not read (aws)"),
        ("event_callback: ./tell.sh", "event_callback: not run"),
        ("experimental: {config_overrides: {}}", "experimental: not read (config_overrides)"),
        ("resources: {spot_recovery: failover}", "resources.spot_recovery: left out"),
        ("resources: {hooks: [{event: preemption, run: x}]}", "resources.hooks: not run; a command is sent SIGTERM"),
        ("resources: {termination_hook: {command: x}}", "resources.termination_hook: not run"),
        ("outputs: {model-dir: 0.1}", "outputs.model-dir: left out: a folder there is not kept"),
        ("num_nodes: 3\nresources: {job_recovery: {min_nodes: 2}}", "resources.job_recovery.min_nodes: left out: all"),
        ("file_mounts: {/d: {name: abc, persistent: false}}", "file_mounts./d.persistent: left out"),
        ("file_mounts: {/d: {source: s3://abc, force_managed: true}}", "file_mounts./d.force_managed: left out"),
    ],
)
def test_what_is_done_otherwise_is_told(tmp_path, text, note):
    assert any(note in str(told) for told in load(write(tmp_path, f"run: x\n{text}")).notes)


def test_a_command_may_be_run_again(tmp_path):
    text = "run: x\nresources: {job_recovery: {strategy: S, max_restarts_on_errors: 3, recover_on_exit_codes: 33}}"
    file = load(write(tmp_path, text))
    assert (file.pipeline.tasks[0].restarts, file.pipeline.tasks[0].restart_on) == (3, (33,))
    assert "the strategy is left out" in str(file.notes[0])
    gang = load(write(tmp_path, f"num_nodes: 2\n{text}"))
    assert (gang.pipeline.tasks[0].restarts, len(gang.notes)) == (0, 2)


def test_a_task_of_setup_alone(tmp_path):
    assert loaded(tmp_path, "file_mounts: {/data: s3://bucket/data}").run == ""
    file = load(write(tmp_path, "setup: pip install numpy"))
    assert file.pipeline.tasks[0].run == ""
    assert "run: there is none" in str(file.notes[0])


def test_a_repository_as_workdir_is_cloned(tmp_path):
    task = loaded(tmp_path, "run: x\nsetup: make\nworkdir: {url: https://example.com/p.git, ref: main}")
    assert task.setup.startswith("git init -q . && git fetch -q --depth 1 https://example.com/p.git main")
    assert task.setup.endswith("\nmake")


def test_several_documents_are_a_chain(tmp_path):
    pipeline = load_pipeline(write(tmp_path, "name: p\n---\nname: a\nrun: x\n---\nname: b\nrun: y\n"))
    assert (pipeline.name, pipeline.order) == ("p", (("a", "b"),))


def test_a_job_group_runs_side_by_side(tmp_path):
    text = "name: p\nexecution: parallel\n---\nname: a\nrun: x\n---\nname: a\nrun: y\n"
    pipeline = load_pipeline(write(tmp_path, text))
    assert ([task.name for task in pipeline.tasks], pipeline.order) == (["a", "a-2"], ())


def test_tasks_may_be_named_with_their_edges(tmp_path):
    text = """
name: p
minimize: time
deadline: 6h
budget: 40
tasks:
  a: {run: x, outputs: {o: {size_gb: 2}}}
  b: {run: y, inputs: {i: a.o}, hours: {T4: 1.5, V100: 90m}}
  c: {run: z}
order: [a >> b >> c, [a, c]]
"""
    file = load(write(tmp_path, text))
    assert file.pipeline.data_edges() == {("a", "b"): 2}
    assert file.pipeline.task("b").hours == {"T4": 1.5, "V100": 1.5}
    assert file.pipeline.order == (("a", "b"), ("b", "c"), ("a", "c"))
    assert (file.objective.minimize, file.objective.deadline, file.objective.budget_usd) == ("time", 6, 40)


def test_machines_that_are_kept_go_by_a_name(tmp_path):
    text = "name: train\nrun: x\n"
    assert (loaded(tmp_path, text).keep, loaded(tmp_path, text).warm) == (None, None)
    by_file = loaded(tmp_path, f"{text}keep: 30m\n")
    assert (by_file.keep, by_file.warm) == (0.5, "train")
    said = loaded(tmp_path, f"{text}keep: 30m\ncluster: dev\n", warm={"keep": "2h", "cluster": "lab"})
    assert (said.keep, said.warm) == (2.0, "lab")
    assert loaded(tmp_path, text, warm={"cluster": "lab"}).warm == "lab"
    for wrong, why in (
        ("keep: 30", "24 h at most"),
        ("keep: soon", "not a duration"),
        ("cluster: a b", "cluster name"),
    ):
        with pytest.raises(SpecError, match=why):
            loaded(tmp_path, f"{text}{wrong}\n")


def test_no_order_and_names_of_any_kind(tmp_path):
    file = load(write(tmp_path, "tasks:\n  - {name: 30b train!, run: x}\norder:\n"))
    assert [task.name for task in file.pipeline.tasks] == ["task-30b-train"]
    assert "name: called 'task-30b-train' here" in str(file.notes[0])


def test_features_are_those_of_the_catalog():
    from sky_core.catalog.facts import read_facts

    assert {name for block in read_facts()["labels"] for name in block["labels"]} == FEATURES
