"""Whether a machine shows the accelerators that it was rented for: an image without their driver computes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable

from ..job import Job

AGAIN_S = 5.0
ANSWER_S = 60.0  # the driver's first call loads it, with eight GPUs that takes a while
BESIDE_PATH = ("/opt/aws/neuron/bin", "/usr/local/nvidia/bin", "/usr/lib/wsl/lib")


class Unshown(Exception):
    """The machine does not show what it was rented for; the message tells what it said instead."""


def await_shown(job: Job, patience_s: float, say: Callable[[str], None]) -> None:
    """Wait until the job's accelerators are shown: some images install the driver when they first boot.

    Raises:
        Unshown: if they are not for ``patience_s`` seconds.
    """
    began, told = time.monotonic(), False
    while True:
        try:
            return check(job)
        except Unshown as error:
            if time.monotonic() - began >= patience_s:
                raise
            if not told:
                say(f"waiting for the accelerators: {error}")
            told = True
        time.sleep(min(AGAIN_S, patience_s / 4))


def check(job: Job) -> None:
    """Compare what the accelerators' own tool lists with what the job was promised.

    Raises:
        Unshown: if it lists fewer, or does not run.
    """
    if not (job.accelerator_tool and job.gpus_per_node):
        return
    arguments, count = TOOLS[job.accelerator_tool]
    try:
        shown = count(_told([job.accelerator_tool, *arguments]))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise Unshown(f"{job.accelerator_tool}: {error}") from None
    if shown < job.gpus_per_node:
        raise Unshown(f"{job.accelerator_tool} lists {shown} of {job.gpus_per_node}")


def _told(command: list[str]) -> str:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *BESIDE_PATH])
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=ANSWER_S,
        env={**os.environ, "PATH": path},
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise ValueError(" ".join(text.split())[:300] or f"exit code {done.returncode}")
    return text


def _gpus(text: str) -> int:
    """GPUs in ``nvidia-smi --list-gpus``: one line each, those of their MIG slices below it."""
    return sum(line.startswith("GPU ") for line in text.splitlines())


def _devices(text: str) -> int:
    """Devices in ``neuron-ls --json-output``: a list of them, whatever is written above it."""
    return len(json.loads(text[text.index("[") :]))


TOOLS: dict[str, tuple[list[str], Callable[[str], int]]] = {
    # https://docs.nvidia.com/deploy/nvidia-smi/ (--list-gpus)
    "nvidia-smi": (["--list-gpus"], _gpus),
    # https://awsdocs-neuron.readthedocs-hosted.com/en/latest/tools/neuron-sys-tools/neuron-ls.html
    "neuron-ls": (["--json-output"], _devices),
}
