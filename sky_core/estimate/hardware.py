"""How fast accelerators are on paper, and estimates made from that or from a measured throughput.

:func:`flops` and :func:`throughput` make functions for ``Task(hours=…)``; importing them is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sky_core.catalog.names import squeeze, tpu_slice
from sky_core.errors import SpecError
from sky_core.spec import Resources

PEAK_TFLOPS = {
    "K80": 4.4, "M60": 4.8, "P4": 5.5, "P100": 18.7, "RadeonProV520": 14.7, "T4": 65, "T4g": 65, "V100": 125,
    "V100-32GB": 125, "A10": 125, "A10G": 70, "L4": 121, "L40S": 362, "A100": 312, "A100-80GB": 312, "H100": 989,
    "H100-MEGA": 989, "H200": 989, "B200": 2250, "B300": 2250, "MI300X": 1307, "RTXPRO6000": 503, "Inferentia": 64,
    "Inferentia2": 190, "Trainium": 190, "Trainium2": 667,
}  # fmt: skip
"""Dense 16-bit TFLOPS of one device as its vendor's data sheet has it; 32-bit for devices before tensor cores (K80,
M60, P4). The dissertation (section 4.2.1.1) rounds V100 to 120."""

TPU_CHIP_TFLOPS = {"v2": 45, "v3": 123, "v4": 275, "v5e": 197, "v5p": 459, "v6e": 918}
"""Peak bf16 TFLOPS of one chip (Cloud TPU documentation, "System architecture"). The dissertation takes 420 for
tpu-v3-8, Google's figure of 2018; today's makes it 492."""


def peak_tflops(accelerator: str, count: float = 1) -> float | None:
    """Peak TFLOPS of ``count`` accelerators of that name (the catalog's spelling), None where no figure is known."""
    tpu = tpu_slice(accelerator)
    each = PEAK_TFLOPS.get(accelerator) if tpu is None else TPU_CHIP_TFLOPS.get(tpu[0], 0) * tpu[1] or None
    return None if each is None else float(each * count)


@dataclass(frozen=True)
class Flops:
    """Hours = operations / (peak x utilization); see :func:`flops`."""

    total: float
    utilization: float

    @property
    def source(self) -> str:
        """How a plan names this estimate."""
        return f"{self.total:.3g} FLOP at {self.utilization:.0%} of peak"

    def __call__(self, candidate: Resources) -> float | None:
        """Hours on the candidate, None if it has no accelerator with a known peak."""
        peaks = [peak_tflops(name, count) for name, count in candidate.accelerators]
        if not peaks or peaks[0] is None:
            return None
        return self.total / (peaks[0] * 1e12 * self.utilization) / 3600


@dataclass(frozen=True)
class Throughput:
    """Hours = input / measured throughput; see :func:`throughput`."""

    gb_per_hour: tuple[tuple[str, float], ...]
    input_gb: float

    @property
    def source(self) -> str:
        """How a plan names this estimate."""
        return f"measured throughput x {self.input_gb:g} GB"

    def __call__(self, candidate: Resources) -> float | None:
        """Hours on the candidate, None if no throughput was measured on its kind."""
        name, count = candidate.accelerators[0] if candidate.accelerators else ("", 0.0)
        keys = (f"{name}:{count:g}", *candidate.instance_type, name)
        measured = {_plain(key): rate for key, rate in self.gb_per_hour}
        rate = next((measured[_plain(key)] for key in keys if _plain(key) in measured), None)
        return None if rate is None else self.input_gb / rate


def flops(total: float, utilization: float = 0.4) -> Flops:
    """An estimate from the number of floating-point operations (dissertation, section 4.2.1.1).

    Args:
        total: Operations of the whole task.
        utilization: Share of the accelerator's peak that the task reaches; 0.3 to 0.5 is usual in training.

    Raises:
        SpecError: if either is not positive, or the utilization above 1.

    >>> round(flops(3.2e18, utilization=0.5)(Resources(accelerators="V100")), 1)
    14.2
    """
    if not total > 0 or not 0 < utilization <= 1:
        raise SpecError(
            f"hours: flops({total!r}, utilization={utilization!r}) needs total > 0 and 0 < utilization <= 1"
        )
    return Flops(total, utilization)


def throughput(gb_per_hour: Mapping[str, float], input_gb: float) -> Throughput:
    """An estimate from throughput measured once per kind of machine (Cloud-Conductor, section 3).

    Args:
        gb_per_hour: GB of input done in an hour, by accelerator (``"V100:4"``, ``"V100"``) or instance type.
        input_gb: GB of input of the task.

    Raises:
        SpecError: if a figure is not positive.

    >>> throughput({"V100": 50, "m5.4xlarge": 5}, input_gb=150)(Resources(accelerators="V100"))
    3.0
    """
    for key, rate in {**gb_per_hour, "input_gb": input_gb}.items():
        if not rate > 0:
            raise SpecError(f"hours: throughput: {key}: must be positive, not {rate!r}")
    return Throughput(tuple(gb_per_hour.items()), input_gb)


def _plain(key: str) -> str:
    name, colon, count = key.partition(":")
    return f"{squeeze(name)}{colon}{count}" if name else ""
