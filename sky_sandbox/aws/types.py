"""What the emulated EC2 sells: the instance types that moto knows and those that AWS lists no more but still runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.utilities.utils import load_resource

# type: (vCPUs, accelerator, how many); https://aws.amazon.com/ec2/previous-generation/ and .../instance-types/p3/
RETIRED = {
    "dl1.24xlarge": (96, "Gaudi", 8),
    "g3s.xlarge": (4, "M60", 1),
    "g3.4xlarge": (16, "M60", 1),
    "g3.8xlarge": (32, "M60", 2),
    "g3.16xlarge": (64, "M60", 4),
    "g4ad.xlarge": (4, "RadeonProV520", 1),
    "g4ad.2xlarge": (8, "RadeonProV520", 1),
    "g4ad.4xlarge": (16, "RadeonProV520", 1),
    "g4ad.8xlarge": (32, "RadeonProV520", 2),
    "g4ad.16xlarge": (64, "RadeonProV520", 4),
    "p2.xlarge": (4, "K80", 1),
    "p2.8xlarge": (32, "K80", 8),
    "p2.16xlarge": (64, "K80", 16),
    "p3.2xlarge": (8, "V100", 1),
    "p3.8xlarge": (32, "V100", 4),
    "p3.16xlarge": (64, "V100", 8),
}
# Where the catalog tells apart what EC2 calls by one name.
CATALOG_NAMES = {"p3dn.24xlarge": "V100-32GB", "p4de.24xlarge": "A100-80GB"}


@dataclass(frozen=True)
class InstanceType:
    """An instance type; ``pools`` are the names its accelerator's capacity goes by, e.g. ("V100", "V100:4")."""

    name: str
    vcpus: int
    pools: tuple[str, ...]


def instance_type(name: str) -> InstanceType | None:
    """The instance type of that name, or None if there is none."""
    if name in RETIRED:
        vcpus, accelerator, count = RETIRED[name]
        return InstanceType(name, vcpus, _pools(accelerator, count))
    details: dict[str, Any] | None = INSTANCE_TYPES.get(name)
    if details is None:
        return None
    vcpus = details["VCpuInfo"]["DefaultVCpus"]
    devices = (
        details.get("GpuInfo", {}).get("Gpus")
        or details.get("InferenceAcceleratorInfo", {}).get("Accelerators")
        or details.get("NeuronInfo", {}).get("NeuronDevices")
    )
    if not devices:
        return InstanceType(name, vcpus, ())
    accelerator = CATALOG_NAMES.get(name) or devices[0]["Name"].replace(" ", "")
    return InstanceType(name, vcpus, _pools(accelerator, devices[0]["Count"]))


def _pools(accelerator: str, count: int) -> tuple[str, ...]:
    return (accelerator, f"{accelerator}:{count}")


class _Offerings(dict[str, Any]):
    """Which zones sell which types, by region, read when first asked: moto keeps all regions, some 70 MB."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location

    def __missing__(self, region: str) -> Any:
        try:
            rows = load_resource(f"ec2/resources/instance_type_offerings/{self.location}/{region}.json")
        except FileNotFoundError:
            rows = []
        self[region] = [{**row, "LocationType": self.location} for row in rows]
        return self[region]

    def get(self, region: str, default: Any = None) -> Any:
        """As for a region that has been read."""
        return self[region] or default

    def __contains__(self, region: object) -> bool:
        return bool(self[str(region)])


for _location in INSTANCE_TYPE_OFFERINGS:
    INSTANCE_TYPE_OFFERINGS[_location] = _Offerings(_location)
