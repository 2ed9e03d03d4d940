"""Kinds of machine as far as run time goes, and how fast they are on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sky_core.estimate.hardware import peak_tflops

if TYPE_CHECKING:
    from sky_core.store import Run


@dataclass(frozen=True)
class Kind:
    """A kind of machine as far as run time goes.

    Attributes:
        name: ``"V100:4"``, or the instance type of a machine without accelerators.
        speed: Published speed in TFLOPS, or vCPUs of a machine without accelerators; None where unknown.
        unit: What ``speed`` counts: ``"tflops"`` or ``"vcpus"``.
    """

    name: str
    speed: float | None
    unit: str

    def compares(self, other: Kind) -> bool:
        """Whether published speeds say anything of one against the other."""
        return self.name == other.name or (self.unit == other.unit and bool(self.speed) and bool(other.speed))

    @classmethod
    def of(cls, instance_type: str, accelerator: str | None, count: float | None, vcpus: float | None) -> Kind:
        """The kind of a machine with these properties."""
        if accelerator:
            return cls(f"{accelerator}:{count:g}", peak_tflops(accelerator, count or 1), "tflops")
        return cls(instance_type, vcpus, "vcpus")


def kind_of_run(run: Run, vcpus: Mapping[str, float]) -> Kind:
    """The kind of machine a past run was made on."""
    return Kind.of(run.instance_type, run.accelerator, run.accelerator_count, vcpus.get(run.instance_type))


def published_pace(kind: Kind, reference: Kind) -> float:
    """Hours on ``kind`` relative to ``reference`` by published speeds; 1 where they do not compare.

    Peak TFLOPS for accelerators. For plain machines, fewer vCPUs take longer in proportion and more are not
    taken to help, as nobody knows how parallel the task is until it was tried.
    """
    if not kind.compares(reference) or not kind.speed or not reference.speed:
        return 1.0
    pace = reference.speed / kind.speed
    return max(pace, 1.0) if kind.unit == "vcpus" else pace
