"""What accelerators' own tools print is read as their makers document it."""

from __future__ import annotations

import pytest

from sky_core.catalog.names import tool
from sky_core.remote.agent.host import accelerators
from sky_core.remote.agent.job import Job

MIG = """\
GPU 0: A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: A100-SXM4-40GB (UUID: GPU-aa1e5d1a-2bd4-dc6a-1ba9-d1b8a6d3a0b1)
"""  # https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
NEURON = """\
instance-type: inf1.6xlarge
[{"neuron_device": 0, "bdf": "00:1f.0", "connected_to": null, "nc_count": 4, "memory_size": 8589934592,
  "neuron_processes": []},
 {"neuron_device": 1, "bdf": "00:1e.0", "connected_to": [0], "nc_count": 4, "memory_size": 8589934592,
  "neuron_processes": []}]
"""  # https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-ls.html


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Puts a tool on the PATH that says something, and ends with a code."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(tool, text, code=0):
        (tmp_path / "text").write_text(text)
        (tmp_path / tool).write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/text\nexit {code}\n")
        (tmp_path / tool).chmod(0o755)

    return put


def job(tool, count):
    return Job("job-1", 1, "aws", gpus_per_node=count, accelerator_tool=tool)


@pytest.mark.parametrize(("tool", "text"), [("nvidia-smi", MIG), ("neuron-ls", NEURON)])
def test_as_many_as_were_promised_have_to_be_listed(says, tool, text):
    says(tool, text)
    accelerators.check(job(tool, 2))
    with pytest.raises(accelerators.Unshown, match=f"{tool} lists 2 of 3"):
        accelerators.check(job(tool, 3))


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, "couldn't communicate"),
        ("No devices were found", 6, "No devices were found"),
        ("", 14, "exit code 14"),
        ("", 0, "lists 0 of 1"),
    ],
)
def test_what_the_tool_said_instead_is_told(says, text, code, told):
    says("nvidia-smi", text, code)
    with pytest.raises(accelerators.Unshown, match=told):
        accelerators.check(job("nvidia-smi", 1))


def test_no_tool_and_a_tool_without_sense_are_no_accelerators(says):
    with pytest.raises(accelerators.Unshown, match="No such file"):
        accelerators.check(job("nvidia-smi", 1))
    says("neuron-ls", "no JSON here")
    with pytest.raises(accelerators.Unshown, match="neuron-ls"):
        accelerators.check(job("neuron-ls", 1))


def test_a_driver_that_comes_late_is_waited_for(says, monkeypatch):
    said = []
    monkeypatch.setattr(accelerators.time, "sleep", lambda _: says("nvidia-smi", MIG))
    accelerators.await_shown(job("nvidia-smi", 2), 60.0, said.append)
    assert len(said) == 1
    assert "waiting for the accelerators: nvidia-smi" in said[0]


def test_nothing_is_asked_of_machines_without(says):
    accelerators.check(job("", 4))
    accelerators.check(job("nvidia-smi", 0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "nvidia-smi") for name in ("T4", "T4g", "V100-32GB", "H100-MEGA", "M60", "RTXPRO6000", "RTX4090")),
        *((name, "neuron-ls") for name in ("Inferentia", "Inferentia2", "Trainium", "Trainium2")),
        *((name, "") for name in ("tpu-v3-8", "Gaudi", "MI300X", "RadeonProV520")),
    ],
)
def test_each_maker_has_its_tool(name, expected):
    assert tool(name) == expected
