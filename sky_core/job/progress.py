"""How far the jobs of a plan are, for planning what is left of it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sky_core.job.memory import Memory
from sky_core.measures.scale import Scale
from sky_core.planner.planning import SoFar
from sky_core.store import Job


def so_far(begun_at: float, jobs: Iterable[Job], scale: Scale) -> SoFar:
    """Hours since the first plan, those that each job still needs where it is, and what its checkpoints hold."""
    now = time.time()
    left, kept = {}, {}
    for job in jobs:
        memory = Memory.model_validate(job.memory)
        kept[job.task] = memory.tries.kept
        if memory.placement is not None:
            ran = scale.hours(now - memory.running_since) if memory.running_since else 0.0
            left[job.task] = 0.0 if job.state == "succeeded" else max(0.0, memory.placement.expected_hours - ran)
    return SoFar(begun_at, scale.hours(now - begun_at), left, kept)
