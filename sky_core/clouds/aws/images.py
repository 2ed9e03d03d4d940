"""Which AMI a machine boots: public Systems Manager parameters by architecture and accelerator.

Sources: https://ubuntu.com/aws/docs (Canonical's parameters),
https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html (Deep Learning AMIs; their release notes name the
supported instances), https://awsdocs-neuron.readthedocs-hosted.com (Neuron).
"""

from __future__ import annotations

UBUNTU = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
DEEP_LEARNING = "/aws/service/deeplearning/ami/{arch}/{kind}/latest/ami-id"
NEURON = "/aws/service/neuron/dlami/multi-framework/ubuntu-24.04/latest/image_id"

OPEN_DRIVER = ("base-oss-nvidia-driver-gpu-ubuntu-24.04", "base-oss-nvidia-driver-gpu-ubuntu-22.04")
PROPRIETARY_DRIVER = ("base-proprietary-nvidia-driver-amazon-linux-2",)
BEFORE_TURING = frozenset({"K80", "M60", "V100", "V100-32GB"})  # NVIDIA's open kernel modules do not know them
NEURON_PREFIXES = ("Inferentia", "Trainium")
WITHOUT_IMAGE = frozenset({"Gaudi", "RadeonProV520"})


def parameters(arch: str, accelerator: str | None) -> tuple[str, ...]:
    """Names of the parameters to try, best first.

    The last resort is plain Ubuntu, where the task's ``setup`` has to bring the accelerator's driver; give
    ``Resources.image`` (an AMI id or the name of a parameter) to choose for yourself.
    """
    ubuntu = UBUNTU.format(arch="amd64" if arch == "x86_64" else arch)
    if accelerator is None or accelerator in WITHOUT_IMAGE:
        return (ubuntu,)
    if accelerator.startswith(NEURON_PREFIXES):
        return (NEURON, ubuntu)
    kinds = PROPRIETARY_DRIVER if accelerator in BEFORE_TURING else OPEN_DRIVER
    return (*(DEEP_LEARNING.format(arch=arch, kind=kind) for kind in kinds), ubuntu)
