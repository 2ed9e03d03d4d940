"""Durable state: plans, jobs, clusters, events, logs, observations (SQLAlchemy; SQLite or PostgreSQL)."""

from sky_core.store.jobs import NewEvent
from sky_core.store.leases import LeaseLost, PlanChanged
from sky_core.store.records import (
    TERMINAL,
    Cluster,
    Event,
    EventKind,
    Interest,
    Job,
    JobState,
    Launch,
    Lease,
    Observation,
    Reach,
    Run,
    StoredPlan,
)
from sky_core.store.store import Store

__all__ = [
    "TERMINAL",
    "Cluster",
    "Event",
    "EventKind",
    "Interest",
    "Job",
    "JobState",
    "Launch",
    "Lease",
    "LeaseLost",
    "NewEvent",
    "Observation",
    "PlanChanged",
    "Reach",
    "Run",
    "Store",
    "StoredPlan",
]
