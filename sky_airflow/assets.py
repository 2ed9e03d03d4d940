"""Outputs as asset events: who schedules by them learns where they lie, how large they are and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset, AssetAlias

from sky_core.job.bill import Spent
from sky_core.job.memory import placement_of
from sky_core.spec import Artifact
from sky_core.store import Job


def tell_assets(context: Any, outlets: list[Any], produced: Mapping[str, Artifact], job: Job, spent: Spent) -> None:
    """Say with each outlet that is one of the outputs what it has become.

    An asset is an output if it has its name or its URI; an alias, if it has its name: it gets the asset that was made.
    """
    for outlet in outlets:
        if isinstance(outlet, AssetAlias) and (artifact := produced.get(outlet.name)) and artifact.uri:
            context["outlet_events"][outlet].add(Asset(uri=artifact.uri), extra=about(artifact, job, spent))
        elif isinstance(outlet, Asset):
            mine = [one for name, one in produced.items() if outlet.name == name or outlet.uri == one.uri]
            if mine:
                context["outlet_events"][outlet].extra.update(about(mine[0], job, spent))


def about(artifact: Artifact, job: Job, spent: Spent) -> dict[str, Any]:
    """What an event says: ``uri``, ``size_gb``, ``location``, and of the task ``job_id``, ``usd`` and ``machine``."""
    placement = placement_of(job)
    machine = f"{placement.cloud} {placement.region} {placement.instance_type}" if placement else ""
    said = artifact.model_dump()
    return {**said, "job_id": job.id, "usd": round(spent.usd, 4), "machine": machine}
