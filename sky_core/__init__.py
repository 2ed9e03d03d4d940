"""Skyloom: an intercloud broker for pipelines that already run in Airflow or Prefect.

Names are loaded on first use, so that ``import sky_core`` stays cheap where DAG files are parsed all day.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.spec import Artifact, Checkpoint, Elastic, Objective, OutputRef, Pipeline, Resources, Task
    from sky_core.spec_yaml import load_pipeline, load_task

__version__ = "0.1.0"

_HOMES = {
    "Artifact": "sky_core.spec",
    "Broker": "sky_core.broker",
    "Checkpoint": "sky_core.spec",
    "Elastic": "sky_core.spec",
    "Objective": "sky_core.spec",
    "OutputRef": "sky_core.spec",
    "Pipeline": "sky_core.spec",
    "Resources": "sky_core.spec",
    "Task": "sky_core.spec",
    "load_pipeline": "sky_core.spec_yaml",
    "load_task": "sky_core.spec_yaml",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sky_core' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


__all__ = [
    "Artifact", "Broker", "Checkpoint", "Elastic", "Objective", "OutputRef", "Pipeline", "Resources", "Task",
    "__version__", "load_pipeline", "load_task",
]  # fmt: skip
