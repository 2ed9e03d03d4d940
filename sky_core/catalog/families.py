"""What a machine type's name tells: the processor's architecture and maker.

The naming rules are the clouds' own: AWS "Amazon EC2 instance type naming conventions", GCP "Machine
families resource guide", Azure "Azure virtual machine sizes naming conventions".
"""

from __future__ import annotations

import re

AWS_TYPE = re.compile(r"^(?P<series>[a-z]+?)(?P<generation>\d+)(?P<options>[a-z]*)(-[a-z0-9]+)?\.")
AZURE_TYPE = re.compile(r"^Standard_(?P<family>[A-Z]+)\d+(-\d+)?(?P<features>[a-z]*)")
GCP_ARM = {"t2a", "c4a", "n4a", "a4x"}
GCP_AMD = {"n2d", "c2d", "t2d", "c3d", "c4d", "n4d", "h4d", "g4"}
GCP_MIXED = {"e2", "TPU"}  # e2 lands on either maker's processors; Google does not tell for TPU hosts
AWS_AMD_ACCELERATED = {"g4ad", "g5", "g6", "g6e", "g6f", "gr6", "gr6f", "p5", "inf2"}


def cpu_maker(cloud: str, instance_type: str) -> str | None:
    """``"intel"``, ``"amd"`` or ``"arm"`` (whoever designs the Arm processor), None where it varies or is unknown."""
    if cloud == "aws":
        return _aws(instance_type)
    if cloud == "gcp":
        series = instance_type.split("-", 1)[0]
        if series in GCP_MIXED:
            return None
        return "arm" if series in GCP_ARM else "amd" if series in GCP_AMD else "intel"
    if cloud == "azure":
        return _azure(instance_type)
    return None


def arch(cloud: str, instance_type: str) -> str:
    """``"arm64"`` or ``"x86_64"``."""
    return "arm64" if cpu_maker(cloud, instance_type) == "arm" else "x86_64"


def _aws(instance_type: str) -> str | None:
    match = AWS_TYPE.match(instance_type)
    if match is None:
        return None
    family = match["series"] + match["generation"] + match["options"]
    if "g" in match["options"] or family == "a1":
        return "arm"
    return "amd" if "a" in match["options"] or family in AWS_AMD_ACCELERATED else "intel"


def _azure(instance_type: str) -> str | None:
    match = AZURE_TYPE.match(instance_type)
    if match is None:
        return None
    if "p" in match["features"]:
        return "arm"
    return "amd" if "a" in match["features"] else "intel"
