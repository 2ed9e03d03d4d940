"""What the emulated Google Cloud sells: regions, zones, machine types, accelerators, image projects.

Every zone sells every type; scarcity comes from the world's capacity. Shapes:
https://cloud.google.com/compute/docs/machine-resource.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# https://cloud.google.com/compute/docs/regions-zones: zone letters, where they are not a, b and c.
LETTERS = {"us-central1": "abcf", "us-central2": "b", "us-east1": "bcd", "europe-west1": "bcd"}
_REGIONS = """
africa-south1 asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1 asia-south2
asia-southeast1 asia-southeast2 asia-southeast3 australia-southeast1 australia-southeast2 europe-central2
europe-north1 europe-north2 europe-southwest1 europe-west1 europe-west10 europe-west12 europe-west2 europe-west3
europe-west4 europe-west6 europe-west8 europe-west9 me-central1 me-central2 me-west1 northamerica-northeast1
northamerica-northeast2 northamerica-south1 southamerica-east1 southamerica-west1 us-central1 us-central2 us-east1
us-east4 us-east5 us-south1 us-west1 us-west2 us-west3 us-west4
"""
REGIONS = tuple(_REGIONS.split())
ZONES = {f"{region}-{letter}": region for region in REGIONS for letter in LETTERS.get(region, "abc")}

# GiB of memory per vCPU by class, and the families that differ.
GIB_PER_VCPU = {"standard": 4.0, "highmem": 8.0, "highcpu": 2.0, "megamem": 14.9, "ultramem": 24.0}
N1_GIB_PER_VCPU = {"standard": 3.75, "highmem": 6.5, "highcpu": 0.9, "megamem": 14.9, "ultramem": 24.0}
_FAMILIES = "a2 a3 a4 c2 c2d c3 c3d c4 c4a c4d c4n e2 g2 g4 h3 h4d m1 m2 m3 m4 n1 n2 n2d n4 n4a n4d t2a t2d x4 z3"
FAMILIES = tuple(_FAMILIES.split())
ARM_FAMILIES = frozenset({"c4a", "n4a", "t2a"})
SHARED_CORE = {"e2-micro": 1.0, "e2-small": 2.0, "e2-medium": 4.0}  # two vCPUs each
# Families that bring their accelerator: prefix of the type -> (accelerator, vCPUs per GPU, GiB per GPU).
GPU_FAMILIES = {
    "a2-highgpu": ("A100", 12, 85),
    "a2-megagpu": ("A100", 6, 85),
    "a2-ultragpu": ("A100-80GB", 12, 170),
    "a3-highgpu": ("H100", 26, 234),
    "a3-megagpu": ("H100-MEGA", 26, 234),
    "a3-ultragpu": ("H200", 28, 368),
    "a4-highgpu": ("B200", 28, 496),
}
GPUS_BY_VCPUS = {"g2": ("L4", {24: 2, 48: 4, 96: 8}), "g4": ("RTXPRO6000", {96: 2, 192: 4, 384: 8})}

SIZED = re.compile(r"^(?P<family>[a-z]\d[a-z]?)-(?P<kind>[a-z]+)-(?P<size>\d+)(?P<gpus>g)?(?:-lssd)?$")
MAX_VCPUS = 416
LISTED_SIZES = (2, 4, 8, 16, 32)  # machineTypes.list shows these; get knows every size

# https://cloud.google.com/compute/docs/gpus: accelerator types that an N1 machine takes, and those that come with a
# machine family of their own; each with the name by which capacity is set here.
ATTACHABLE = {
    "nvidia-tesla-k80": "K80",
    "nvidia-tesla-p4": "P4",
    "nvidia-tesla-p100": "P100",
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-v100": "V100",
}
ACCELERATORS = ATTACHABLE | {
    "nvidia-a100-80gb": "A100-80GB",
    "nvidia-b200": "B200",
    "nvidia-h100-80gb": "H100",
    "nvidia-h100-mega-80gb": "H100-MEGA",
    "nvidia-h200-141gb": "H200",
    "nvidia-l4": "L4",
    "nvidia-rtx-pro-6000": "RTXPRO6000",
    "nvidia-tesla-a100": "A100",
}


@dataclass(frozen=True)
class MachineType:
    """A machine type; ``accelerator`` is the catalog's name of what it brings, or ""."""

    name: str
    vcpus: int
    memory_mb: int
    arch: str = "X86_64"
    accelerator: str = ""
    gpus: int = 0


def machine_type(name: str) -> MachineType | None:
    """The machine type of that name, or None if there is none."""
    if name in SHARED_CORE:
        return MachineType(name, 2, int(SHARED_CORE[name] * 1024))
    match = SIZED.match(name)
    if match is None or match["family"] not in FAMILIES:
        return None
    family, kind, size = match["family"], match["kind"], int(match["size"])
    if match["gpus"]:
        if f"{family}-{kind}" not in GPU_FAMILIES:
            return None
        accelerator, vcpus, gib = GPU_FAMILIES[f"{family}-{kind}"]
        return MachineType(name, vcpus * size, gib * size * 1024, accelerator=accelerator, gpus=size)
    gib_per_vcpu = (N1_GIB_PER_VCPU if family == "n1" else GIB_PER_VCPU).get(kind)
    if gib_per_vcpu is None or not 0 < size <= MAX_VCPUS:
        return None
    accelerator, counts = GPUS_BY_VCPUS.get(family, ("", {}))
    return MachineType(
        name,
        size,
        int(gib_per_vcpu * size * 1024),
        arch="ARM64" if family in ARM_FAMILIES else "X86_64",
        accelerator=accelerator,
        gpus=counts.get(size, 1) if accelerator else 0,
    )


def listed_machine_types() -> list[MachineType]:
    """A fair selection of machine types for ``machineTypes.list``."""
    names = [f"{family}-standard-{size}" for family in FAMILIES for size in LISTED_SIZES]
    names += [f"{prefix}-{count}g" for prefix in GPU_FAMILIES for count in (1, 2, 4, 8)]
    return [found for name in names if (found := machine_type(name))]


def pools(accelerator: str, count: int) -> tuple[str, ...]:
    """The names that capacity for machines with these accelerators goes by: ``("V100", "V100:4")``."""
    return (accelerator, f"{accelerator}:{count}") if accelerator else ()
