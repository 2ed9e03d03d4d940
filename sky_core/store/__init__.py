"""Durable state: plans, jobs, clusters, events, logs, observations (SQLAlchemy; SQLite or PostgreSQL)."""

from sky_core.store.leases import LeaseLost, PlanChanged
from sky_core.store.reading.listing import Choice
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
    Result,
    Run,
    RunLine,
    StoredPlan,
)
from sky_core.store.store import Store

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
    "Launch",
    "Lease",
    "LeaseLost",
    "Observation",
    "PlanChanged",
    "Reach",
    "Result",
    "Run",
    "RunLine",
    "Store",
    "StoredPlan",
]
