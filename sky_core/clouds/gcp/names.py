"""Google Cloud's names for our things: accelerators, images, runtimes, disks and labels. Pure data and functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from sky_core.clouds.base import LaunchRequest
from sky_core.errors import InvalidRequest
from sky_core.facts.managed import is_managed

# https://cloud.google.com/compute/docs/gpus (acceleratorTypes), keyed by the catalog's names.
GPUS = {
    "K80": "nvidia-tesla-k80",
    "P4": "nvidia-tesla-p4",
    "P100": "nvidia-tesla-p100",
    "V100": "nvidia-tesla-v100",
    "T4": "nvidia-tesla-t4",
    "L4": "nvidia-l4",
    "A100": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "H100": "nvidia-h100-80gb",
    "H100-MEGA": "nvidia-h100-mega-80gb",
    "H200": "nvidia-h200-141gb",
    "B200": "nvidia-b200",
    "RTXPRO6000": "nvidia-rtx-pro-6000",
}
# These are attached to N1 machines; all others come with their own machine families.
ATTACHED_GPUS = frozenset({"K80", "P4", "P100", "V100", "T4"})

TPU_INSTANCE_TYPE = "TPU-VM"
# https://cloud.google.com/tpu/docs/runtimes: generation -> (prefix of acceleratorType, runtime version).
TPU_GENERATIONS = {
    "v2": ("v2", "tpu-ubuntu2204-base"),
    "v3": ("v3", "tpu-ubuntu2204-base"),
    "v4": ("v4", "tpu-ubuntu2204-base"),
    "v5e": ("v5litepod", "v2-alpha-tpuv5-lite"),
    "v5p": ("v5p", "v2-alpha-tpuv5"),
    "v6e": ("v6e", "v2-alpha-tpuv6e"),
}
TPU_NAME = re.compile(r"^tpu-(?P<generation>v\d+[a-z]?)-(?P<size>\d+)$")

# Images with cloud-init, which reads our user data. The deep learning images add the NVIDIA driver.
UBUNTU = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
UBUNTU_ARM = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-arm64"
DEEP_LEARNING = "projects/deeplearning-platform-release/global/images/family/common-cu129-ubuntu-2404-nvidia-580"
WITHOUT_DRIVER = frozenset({"K80"})  # Kepler ends with driver 470; the images have 580
# Parts of a GPU: their guest driver is NVIDIA's for vGPUs, which no image has:
# https://cloud.google.com/compute/docs/gpus/install-drivers-gpu
SLICES = re.compile(r"^g4-standard-(6|12|24)$")
UBUNTU_GIB, DEEP_LEARNING_GIB = 10, 50

# Families that take no Persistent Disk: https://cloud.google.com/compute/docs/disks/hyperdisks#hd-balanced.
HYPERDISK_FAMILIES = frozenset({"a4", "a4x", "c4", "c4a", "c4d", "c4n", "g4", "h4d", "m4", "n4", "n4a", "n4d", "x4"})
HYPERDISK_TYPES = re.compile(r"^a3-ultragpu-|^[a-z]\d[a-z]?-.*-metal$")  # …of families that otherwise do

LABEL_VALUE = re.compile(r"^[a-z0-9_-]{0,63}$")
LABEL_KEY = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")


def label_value(value: str) -> str:
    """A label value that stands for ``value``: itself where Google allows it, else its slug and a hash.

    https://cloud.google.com/compute/docs/labeling-resources: lower case, digits, '_' and '-', at most 63.
    """
    if LABEL_VALUE.match(value):
        return value
    slug = re.sub(r"[^a-z0-9_-]", "-", value.lower())[:46]
    return f"{slug}-{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def labels(tags: Mapping[str, str]) -> dict[str, str]:
    """The labels that stand for ``tags``: equal tags have equal labels, unequal ones differ."""
    return {_label_key(key): label_value(value) for key, value in tags.items()}


def _label_key(key: str) -> str:
    return key if LABEL_KEY.match(key) else f"k-{label_value(key)[-61:]}"


def is_tpu(request: LaunchRequest) -> bool:
    """Whether the request is for a TPU VM, which has an API of its own."""
    return request.instance_type == TPU_INSTANCE_TYPE or (request.accelerator or "").startswith("tpu-")


def apis(instance_type: str | None) -> set[str]:
    """Which APIs may have what is of that type: of all (None) those that tell of every machine."""
    if instance_type is None:
        return {"compute", "tpu"}
    return {"tpu" if instance_type == TPU_INSTANCE_TYPE else "dataproc" if is_managed(instance_type) else "compute"}


def tpu_version(accelerator: str) -> tuple[str, str]:
    """``acceleratorType`` and ``runtimeVersion`` of a TPU: ``"tpu-v5e-8"`` -> ``("v5litepod-8", …)``.

    Raises:
        InvalidRequest: for a name that is no TPU.
    """
    match = TPU_NAME.match(accelerator)
    if match is None or match["generation"] not in TPU_GENERATIONS:
        known = ", ".join(f"tpu-{generation}-N" for generation in TPU_GENERATIONS)
        raise InvalidRequest(f"accelerator: {accelerator!r} is no TPU that Google Cloud offers; there are {known}")
    prefix, runtime = TPU_GENERATIONS[match["generation"]]
    return f"{prefix}-{match['size']}", runtime


def attached_gpu(request: LaunchRequest) -> tuple[str, int] | None:
    """Accelerator type and count to attach to an N1 machine; None where the machine type brings its own, or none.

    Raises:
        InvalidRequest: for an accelerator that Google Cloud does not sell.
    """
    if request.accelerator is None:
        return None
    if request.accelerator not in GPUS:
        raise InvalidRequest(f"accelerator: Google Cloud has no {request.accelerator!r}; it has {', '.join(GPUS)}")
    if request.accelerator not in ATTACHED_GPUS:
        return None
    return GPUS[request.accelerator], int(request.accelerator_count or 1)


def image(request: LaunchRequest) -> str:
    """The boot image: the one asked for, or Ubuntu, with the NVIDIA driver where there is a GPU.

    Raises:
        InvalidRequest: if no image has the driver for its accelerator.
    """
    if request.image:
        return request.image
    slice_of_one = SLICES.match(request.instance_type)
    if slice_of_one or request.accelerator in WITHOUT_DRIVER:
        lacking = f"the vGPU driver that {request.instance_type} needs" if slice_of_one else (
            f"a driver for {request.accelerator}: NVIDIA ended with it in 2021")  # fmt: skip
        raise InvalidRequest(
            f"image: no image of Google Cloud has {lacking}",
            scope="type",
            code="NoImage",
            cure="give Resources.image an image of your own that has it, or choose another machine",
        )
    if request.accelerator:
        return DEEP_LEARNING
    return UBUNTU_ARM if request.arch == "arm64" else UBUNTU


def disk_type(instance_type: str) -> str:
    """The type of boot disk that a machine type can take."""
    hyper = instance_type.split("-")[0] in HYPERDISK_FAMILIES or HYPERDISK_TYPES.match(instance_type)
    return "hyperdisk-balanced" if hyper else "pd-balanced"


def disk_gib(request: LaunchRequest) -> int:
    """The size of the boot disk, GiB: what was asked for, or what the image needs at least."""
    return max(request.disk_gib, DEEP_LEARNING_GIB if request.accelerator else UBUNTU_GIB)


def region_of(zone: str) -> str:
    """``"us-central1-a"`` -> ``"us-central1"``."""
    return zone.rpartition("-")[0]


def node_names(request: LaunchRequest) -> list[str]:
    """Names of the gang's machines: the token itself for one, else numbered."""
    if request.num_nodes == 1:
        return [request.token]
    return [f"{request.token}-{index}" for index in range(request.num_nodes)]
