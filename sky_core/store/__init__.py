"""Durable state: plans, jobs, clusters, events, logs, observations (SQLAlchemy; SQLite or PostgreSQL).

``Store`` is loaded on first use: what lists jobs reads the same tables without SQLAlchemy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sky_core.store.reading.listing import Choice, Listings
from sky_core.store.records import (
    TERMINAL,
    Cluster,
    Event,
    Interest,
    Job,
    JobLine,
    JobName,
    JobState,
    Launch,
    Lease,
    Observation,
    Reach,
    Run,
    RunLine,
    StoredPlan,
)

if TYPE_CHECKING:
    from sky_core.store.kept import KeptGone
    from sky_core.store.leases import LeaseLost, PlanChanged
    from sky_core.store.results import Result
    from sky_core.store.store import Store

LATE = {"KeptGone": "kept", "LeaseLost": "leases", "PlanChanged": "leases", "Result": "results", "Store": "store"}


def __getattr__(name: str) -> Any:
    if name in LATE:
        return getattr(import_module(f"{__name__}.{LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "TERMINAL",
    "Choice",
    "Cluster",
    "Event",
    "Interest",
    "Job",
    "JobLine",
    "JobName",
    "JobState",
    "KeptGone",
    "Launch",
    "Lease",
    "LeaseLost",
    "Listings",
    "Observation",
    "PlanChanged",
    "Reach",
    "Result",
    "Run",
    "RunLine",
    "Store",
    "StoredPlan",
]
