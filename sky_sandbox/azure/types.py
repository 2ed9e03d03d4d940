"""What the emulated Azure sells: every VM size in every zone; scarcity comes from the world's capacity.

Names: https://learn.microsoft.com/en-us/azure/virtual-machines/vm-naming-conventions. GPUs per size:
https://learn.microsoft.com/en-us/azure/virtual-machines/sizes/overview#gpu-accelerated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SIZE = re.compile(r"^(?:Standard|Basic)_(?P<family>[A-Z]+)(?P<cores>\d+)(?:-(?P<limit>\d+))?(?P<rest>\w*)$")

# (pattern of the size, accelerator in the catalog's spelling, vCPUs per device)
ACCELERATORS = (
    (re.compile(r"_NC\d+r?s_v3$"), "V100", 6),
    (re.compile(r"_ND40rs_v2$"), "V100-32GB", 5),
    (re.compile(r"_NC64as_T4_v3$"), "T4", 16),
    (re.compile(r"_NC\d+as_T4_v3$"), "T4", 0),  # one whatever the size
    (re.compile(r"_NC\d+ads_A100_v4$"), "A100-80GB", 24),
    (re.compile(r"_ND96asr_v4$"), "A100", 12),
    (re.compile(r"_ND96amsr_A100_v4$"), "A100-80GB", 12),
    (re.compile(r"_NC\d+adi?s_H100_v5$"), "H100", 40),
    (re.compile(r"_ND96isr_H100_v5$"), "H100", 12),
    (re.compile(r"_ND96isr_H200_v5$"), "H200", 12),
    (re.compile(r"_ND96isr_MI300X_v5$"), "MI300X", 12),
    (re.compile(r"_NV\d+adm?s_A10_v5$"), "A10", 36),
    (re.compile(r"_NV\d+s_v3$"), "M60", 12),
)


@dataclass(frozen=True)
class Size:
    """A VM size; ``pools`` are the names its accelerator's capacity goes by, e.g. ("V100", "V100:4")."""

    name: str
    vcpus: int
    pools: tuple[str, ...] = ()


def size(name: str) -> Size | None:
    """The VM size of that name, or None if Azure would not call one so.

    ``Standard_E16-4s_v5`` has 4 vCPUs of a 16-core machine's.
    """
    match = SIZE.match(name)
    if match is None:
        return None
    cores = int(match["cores"])
    return Size(name, int(match["limit"] or cores), _pools(name, cores))


def _pools(name: str, cores: int) -> tuple[str, ...]:
    for pattern, accelerator, cores_each in ACCELERATORS:
        if pattern.search(name):
            count = max(1, cores // cores_each) if cores_each else 1
            return (accelerator, f"{accelerator}:{count}")
    return ()
