"""Names of images, where paths lead within one, and what engines are told of a machine's accelerators."""

from __future__ import annotations

import pytest

from sky_core.remote.agent.container.choosing import devices
from sky_core.remote.agent.container.namespace import within
from sky_core.remote.agent.container.reference import Reference

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "server", "whole", "api"),
    [
        ("ubuntu", "", "docker.io/library/ubuntu:latest", "https://registry-1.docker.io/v2/library/ubuntu"),
        ("python:3.12-slim", "", "docker.io/library/python:3.12-slim", "https://registry-1.docker.io/v2/library/python"),
        ("vllm/vllm-openai:v1", "", "docker.io/vllm/vllm-openai:v1", "https://registry-1.docker.io/v2/vllm/vllm-openai"),
        ("nvcr.io/nvidia/pytorch:24.01-py3", "", "nvcr.io/nvidia/pytorch:24.01-py3", "https://nvcr.io/v2/nvidia/pytorch"),
        ("localhost:5000/a/b", "", "localhost:5000/a/b:latest", "http://localhost:5000/v2/a/b"),
        (f"ghcr.io/a/b:1@{DIGEST}", "", f"ghcr.io/a/b@{DIGEST}", "https://ghcr.io/v2/a/b"),
        ("team/x:2", "1.dkr.ecr.eu-west-1.amazonaws.com", "1.dkr.ecr.eu-west-1.amazonaws.com/team/x:2",
         "https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/team/x"),
        ("ghcr.io/a/b", "https://ghcr.io/", "ghcr.io/a/b:latest", "https://ghcr.io/v2/a/b"),
    ],
)  # fmt: skip
def test_names_mean_what_docker_takes_them_for(name, server, whole, api):
    found = Reference.parse(name, server)
    assert (str(found), found.api) == (whole, api)


@pytest.mark.parametrize("name", ["", "Upper/case", "a b", "x@md5:1", "../x"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(ValueError, match="not the name of an image"):
        Reference.parse(name)


def test_links_of_an_image_stay_in_it(tmp_path):
    (tmp_path / "etc").mkdir()
    for link, target in {"var": "/run", "up": "../../..", "round": "round", "etc/resolv.conf": "../run/resolv"}.items():
        (tmp_path / link).symlink_to(target)
    root = str(tmp_path)
    assert within(root, "/var/lock") == f"{root}/run/lock"
    assert within(root, "/up/etc/../../x") == f"{root}/x"
    assert within(root, "/etc/resolv.conf") == f"{root}/run/resolv"
    with pytest.raises(OSError, match="too many links"):
        within(root, "/round/x")


def test_engines_are_given_what_is_there():
    assert devices("docker", 4, ["/dev/nvidiactl", "/dev/nvidia0"]) == ["--gpus=all"]
    assert devices("podman", 4, ["/dev/nvidiactl"]) == ["--device=nvidia.com/gpu=all"]
    assert devices("docker", 1, ["/dev/neuron1", "/dev/neuron0"]) == ["--device=/dev/neuron0", "--device=/dev/neuron1"]
    assert "--device=/dev/kfd" in devices("docker", 1, ["/dev/kfd", "/dev/dri"])
    assert devices("docker", 4, ["/dev/accel0"]) == ["--privileged"]
    assert devices("docker", 0, ["/dev/null", "/dev/vfio"]) == []
