"""Which AMI a machine boots: public Systems Manager parameters by architecture and accelerator.

Sources: https://ubuntu.com/aws/docs (Canonical's parameters),
https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html (Deep Learning AMIs; their release notes name the
supported instances), https://awsdocs-neuron.readthedocs-hosted.com (Neuron).
"""

from __future__ import annotations

import re

from sky_core.errors import InvalidRequest

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
DEEP_LEARNING = "/aws/service/deeplearning/ami/{arch}/{kind}/latest/ami-id"
NEURON = "/aws/service/neuron/dlami/multi-framework/ubuntu-24.04/latest/image_id"

OPEN_DRIVER = ("base-oss-nvidia-driver-gpu-ubuntu-24.04", "base-oss-nvidia-driver-gpu-ubuntu-22.04")
PROPRIETARY_DRIVER = ("base-proprietary-nvidia-driver-amazon-linux-2",)
BEFORE_TURING = frozenset({"M60", "V100", "V100-32GB"})  # NVIDIA's open kernel modules do not know them
NEURON_PREFIXES = ("Inferentia", "Trainium")
NEURON_1 = "/aws/service/neuron/dlami/pt_1_13_inf1_ami_u22/ubuntu-22.04/latest/image_id"  # frozen: later ones lack Inf1
WITHOUT_DRIVER = frozenset({"K80"})  # Kepler ends with driver 470; the images have later ones
SLICES = re.compile(r"^gr?6f\.")  # parts of a GPU, by NVIDIA's GRID
WITHOUT_IMAGE = frozenset({"Gaudi", "RadeonProV520"})


def parameters(arch: str, accelerator: str | None, instance_type: str = "") -> tuple[str, ...]:
    """Names of the parameters to try, best first.

    The last resort is plain Ubuntu, where the task's ``setup`` has to bring the accelerator's driver; give
    ``Resources.image`` (an AMI id or the name of a parameter) to choose for yourself.

    Raises:
        InvalidRequest: if no image has the driver for the accelerator.
    """
    ubuntu = UBUNTU.format(arch="amd64" if arch == "x86_64" else arch)
    if accelerator is None or accelerator in WITHOUT_IMAGE:
        return (ubuntu,)
    if accelerator in WITHOUT_DRIVER or SLICES.match(instance_type):
        lacking = f"the GRID driver that {instance_type} needs" if SLICES.match(instance_type) else (
            f"a driver for {accelerator}: NVIDIA ended with it in 2021")  # fmt: skip
        raise InvalidRequest(
            f"image: no image of AWS has {lacking}",
            scope="type",
            code="NoImage",
            cure="give Resources.image an AMI of your own that has it, or choose another machine",
        )
    if accelerator == "Inferentia":
        return (NEURON_1,)
    if accelerator.startswith(NEURON_PREFIXES):
        return (NEURON, ubuntu)
    kinds = PROPRIETARY_DRIVER if accelerator in BEFORE_TURING else OPEN_DRIVER
    return (*(DEEP_LEARNING.format(arch=arch, kind=kind) for kind in kinds), ubuntu)
