"""How long a task will take on an offering: the user's word, paper speeds, measured throughput, or history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sky_core.estimate.hardware import flops, throughput

if TYPE_CHECKING:
    from sky_core.estimate.estimate import Estimate, estimate_hours

__all__ = ["Estimate", "estimate_hours", "flops", "throughput"]


def __getattr__(name: str) -> Any:
    if name in ("Estimate", "estimate_hours"):  # these bring polars; a DAG file needs only flops and throughput
        from sky_core.estimate import estimate

        return getattr(estimate, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
