"""What a user asks for: resources, artifacts, tasks and pipelines.

Frozen models without I/O, validated on construction. A mistake raises :class:`~sky_core.errors.SpecError`
whose message names the field. Units: hours, GB (10^9 bytes) for data, GiB for memory and disks, USD.
"""

from __future__ import annotations

from sky_core.measures.durations import parse_hours
from sky_core.spec.data import Artifact, Checkpoint, Mount, OutputRef
from sky_core.spec.elastic import Elastic
from sky_core.spec.pipeline import Objective, Pipeline
from sky_core.spec.resources import Resources
from sky_core.spec.task import HoursFunction, Task
from sky_core.spec.values import ENV_NAME, NAME, Amount, did_you_mean
from sky_core.spec.variables import refuse_variables

__all__ = [
    "ENV_NAME",
    "NAME",
    "Amount",
    "Artifact",
    "Checkpoint",
    "Elastic",
    "HoursFunction",
    "Mount",
    "Objective",
    "OutputRef",
    "Pipeline",
    "Resources",
    "Task",
    "did_you_mean",
    "parse_hours",
    "refuse_variables",
]
