"""Skyloom for Prefect: tasks of an ordinary flow, each placed on the cloud where the whole flow is cheapest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sky_prefect.background import serve
    from sky_prefect.blocks import SkyloomConfig
    from sky_prefect.needs import resources, resources_override
    from sky_prefect.pool.decorator import sky
    from sky_prefect.remote.cluster import cluster
    from sky_prefect.task_runner import SkyTaskRunner

_HOMES = {
    "SkyloomConfig": "sky_prefect.blocks",
    "SkyTaskRunner": "sky_prefect.task_runner",
    "cluster": "sky_prefect.remote.cluster",
    "resources": "sky_prefect.needs",
    "resources_override": "sky_prefect.needs",
    "serve": "sky_prefect.background",
    "sky": "sky_prefect.pool.decorator",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sky_prefect' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


__all__ = ["SkyTaskRunner", "SkyloomConfig", "cluster", "resources", "resources_override", "serve", "sky"]
