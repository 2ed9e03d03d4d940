"""SkyPilot's files at work: their variables, their mounts and what is written below them, their workdir, images."""

from __future__ import annotations

import fsspec
import pytest

from sky_core.broker.runner import PipelineRun
from sky_core.clouds import connect
from sky_core.spec_yaml import load
from tests.sandbox.brokers import own_broker
from tests.sandbox.registry import Registry, layer, tools

pytestmark = [pytest.mark.slow, pytest.mark.alone]
SANDBOX = {"hours_per_second": 0.1}
FILE = """
name: both
execution: parallel
---
name: gang
num_nodes: 2
envs: {BUCKET: team-run}
workdir: code
resources:
  ordered: [{infra: aws/us-east-1, instance_type: m5.large}, {infra: gcp/us-central1, cpus: 2}]
  labels: {team: research}
file_mounts:
  ~/settings/app.yaml: ./settings.yaml
  ~/ckpt: {name: "${BUCKET}", mode: MOUNT}
run: |
  test "$(realpath ~/sky_workdir)" = "$PWD" && cat main.txt
  cat ~/settings/app.yaml
  echo "rank=$SKYPILOT_NODE_RANK of $SKYPILOT_NUM_NODES gpus=$SKYPILOT_NUM_GPUS_PER_NODE $SKYPILOT_TASK_ID"
  wc -l <<< "$SKYPILOT_NODE_IPS"
  echo "of $SKYPILOT_NODE_RANK" > ~/ckpt/rank-$SKYPILOT_NODE_RANK
  first=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")
  if [ $SKYPILOT_NODE_RANK = 0 ]; then exec python3 -m http.server --bind "$first" 8765; fi
  until (echo > /dev/tcp/$first/8765) 2> /dev/null; do sleep 0.2; done
  echo "met rank 0"
  exit 3
---
name: boxed
resources: {infra: gcp/us-central1, cpus: 2, image_id: "docker:IMAGE"}
workdir: code
run: cat /etc/os-release main.txt
"""


@pytest.fixture
def broker(world, monkeypatch, own_store_url):
    with own_broker(world, monkeypatch, own_store_url) as broker:
        yield broker


@pytest.fixture
def image():
    registry = Registry()
    yield registry.push("open/image", [layer(host=tools(), files={"etc/os-release": "NAME=boxed\n"})], {})
    registry.close()


def test_a_gang_and_a_container_find_what_their_file_says(world, broker, tmp_path, image):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.txt").write_text("the code\n")
    (tmp_path / "settings.yaml").write_text("the settings\n")
    (tmp_path / "task.yaml").write_text(FILE.replace("IMAGE", image))
    loaded = load(tmp_path / "task.yaml")
    logs = {"gang": [], "boxed": []}
    jobs = PipelineRun(
        broker, "run", loaded.pipeline, lambda *_: None, lambda name, line: logs[name].append(line)
    ).run()
    assert (jobs["boxed"].state, logs["boxed"][1:]) == ("succeeded", ["NAME=boxed", "the code"]), logs["boxed"]
    job, lines = jobs["gang"], logs["gang"]
    assert (job.state, job.result["exit_code"]) == ("failed", 3), job.result
    first = [line.removeprefix("(rank 0) ") for line in lines if line.startswith("(rank 0) ")]
    assert first[:2] == ["the code", "the settings"], (lines, broker.store.log(job.id), broker.store.events(job.id))
    assert f"rank=0 of 2 gpus=0 {job.id}" in first
    assert first[3].strip() == "2"
    assert "(rank 1) met rank 0" in lines
    tags = [entry["machine"]["tags"] for entry in world.control.audit() if entry["event"] == "start"]
    assert {found.get("team") for found in tags if found.get("skyloom-job") == job.id} == {"research"}
    found = fsspec.filesystem("s3", **connect("aws", world.settings).storage_options())
    assert sorted(found.ls("team-run", detail=False)) == ["team-run/rank-0", "team-run/rank-1"]
    assert found.cat("team-run/rank-1") == b"of 1\n"
