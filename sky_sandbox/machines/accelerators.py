"""What a machine's accelerators answer to their own tools: the driver of its image serves them, or does not.

``nvidia-smi`` and ``neuron-ls`` come with the driver, so that an image without one has no such command. What they print
is as NVIDIA and AWS document it: https://docs.nvidia.com/deploy/nvidia-smi/,
https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-ls.html.
"""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Mapping

from sky_sandbox.images import Image, images
from sky_sandbox.machines.record import Machine

NVIDIA = ("open", "proprietary", "grid", "unsure")
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running."
)
NO_NEURON = "neuron-ls: error: Neuron driver not found: no neuron device found"


def tools(machine: Machine) -> Mapping[str, str]:
    """Commands on the machine's PATH, as shell scripts; an image that nobody documents is taken to serve all."""
    image = images(machine.cloud).get(machine.extra.get("image", ""))
    name, count = _accelerators(machine)
    neuron = name.startswith(("Inferentia", "Trainium"))
    if image is not None and not _has_tool(image, neuron=neuron):
        return {}
    served = image is None or name in (*image.gpus, *image.gpus_if_proprietary)
    if neuron:
        return {"neuron-ls": _neuron_ls(count) if served else _failing(NO_NEURON, 1)}
    if not name:
        return {"nvidia-smi": _failing("No devices were found", 6)} if image is not None else {}
    return {"nvidia-smi": _nvidia_smi(name, count) if served else _failing(NO_DRIVER, 9)}


def _has_tool(image: Image, *, neuron: bool) -> bool:
    return image.driver == "neuron" if neuron else image.driver in NVIDIA


def _accelerators(machine: Machine) -> tuple[str, int]:
    """Name and number, by the names that the capacity for it goes by; a slice of one shows as one."""
    counted = next((pool for pool in machine.pools if ":" in pool), "")
    name, _, count = counted.partition(":")
    return name, max(1, int(float(count or 1)))


def _nvidia_smi(name: str, count: int) -> str:
    gpus = [f"GPU {number}: NVIDIA {name} (UUID: GPU-{uuid.uuid4()})" for number in range(count)]
    return _printing("\n".join(gpus))


def _neuron_ls(count: int) -> str:
    return _printing(json.dumps([{"neuron_device": number, "nc_count": 2} for number in range(count)]))


def _printing(text: str) -> str:
    return f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(text)}\n"


def _failing(text: str, code: int) -> str:
    return f"{_printing(text)}exit {code}\n"
