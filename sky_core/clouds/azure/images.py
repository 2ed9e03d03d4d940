"""Which Marketplace image a VM boots, by its size and accelerator, and why.

Sources: https://documentation.ubuntu.com/azure/azure-how-to/instances/find-ubuntu-images/ (Canonical),
https://github.com/Azure/azhpc-images (images with drivers; issues 398 and 406 tell which GPUs they do not serve),
https://learn.microsoft.com/azure/virtual-machines/generation-2 and …/enable-nvme-interface.
"""

from __future__ import annotations

import re

from sky_core.clouds.base import LaunchRequest
from sky_core.errors import InvalidRequest

UBUNTU = "Canonical:ubuntu-24_04-lts:server:latest"  # generation 2; SCSI and NVMe
UBUNTU_GENERATION_1 = "Canonical:ubuntu-24_04-lts:server-gen1:latest"
UBUNTU_ARM = "Canonical:ubuntu-24_04-lts:server-arm64:latest"
UBUNTU_CONFIDENTIAL = "Canonical:ubuntu-24_04-lts:cvm:latest"
OPEN_DRIVER = "microsoft-dsvm:ubuntu-hpc:2404:latest"  # NVIDIA's open kernel modules: Turing and later
PROPRIETARY_DRIVER = "microsoft-dsvm:ubuntu-hpc:2204-v100:latest"  # the one that still serves Volta
ROCM_DRIVER = "microsoft-dsvm:ubuntu-hpc:2404-rocm:latest"
WITH_DRIVER_GIB, PLAIN_GIB = 64, 30  # a smaller disk than the image's is refused

# Sold as slices of a GPU, or for graphics: they need NVIDIA's GRID driver, and no image on the Marketplace has it.
NEED_GRID = frozenset({"A10", "M60", "RTXPRO6000"})
BEFORE_TURING = frozenset({"V100", "V100-32GB"})
AMD_GPU = re.compile(r"^MI\d")

# SEV-SNP and TDX sizes (DCasv5, ECadsv5, DCesv5, NCCadsH100v5…) boot only as confidential VMs, from images made for
# it. SGX sizes (DCsv2, DCsv3, DCdsv3) are ordinary generation-2 machines with enclaves.
CONFIDENTIAL_VM = re.compile(r"^Standard_(?:DC|EC|NCC)\d+(?:-\d+)?[a-z]*[ae][a-z]*_")
GENERATION_1 = re.compile(r"^(?:Basic|Standard)_A\d|^Standard_(?:D\d+|D\d+_v2|[DE]\d+_v3)$")
NVME_ONLY = re.compile(r"^Standard_[A-Z]+\d+(?:-\d+)?[a-z]*_(?:\w+_)?v[67]$")


def default_image(request: LaunchRequest) -> str:
    """The URN of the image that fits the machine.

    Raises:
        InvalidRequest: if no image on the Marketplace has the driver for its accelerator.
    """
    accelerator = request.accelerator or ""
    if CONFIDENTIAL_VM.match(request.instance_type):
        return UBUNTU_CONFIDENTIAL
    if accelerator in NEED_GRID:
        raise InvalidRequest(
            f"image: {accelerator} on Azure needs NVIDIA's GRID driver, and no image on the Marketplace has it",
            scope="type",
            code="NoImage",
            cure="give Resources.image an image of your own that has it, or choose another accelerator",
        )
    if accelerator:
        return ROCM_DRIVER if AMD_GPU.match(accelerator) else _nvidia(accelerator)
    if request.arch == "arm64":
        return UBUNTU_ARM
    return UBUNTU_GENERATION_1 if GENERATION_1.match(request.instance_type) else UBUNTU


def _nvidia(accelerator: str) -> str:
    return PROPRIETARY_DRIVER if accelerator in BEFORE_TURING else OPEN_DRIVER


def disk_gib(request: LaunchRequest) -> int:
    """The size of the OS disk: what was asked for, or what our image needs at least."""
    if request.image:
        return request.disk_gib
    return max(request.disk_gib, WITH_DRIVER_GIB if request.accelerator else PLAIN_GIB)


def needs_nvme(instance_type: str) -> bool:
    """Whether the size has no SCSI controller, so that NVMe has to be asked for."""
    return bool(NVME_ONLY.match(instance_type))
