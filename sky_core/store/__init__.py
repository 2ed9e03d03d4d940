"""Durable state: plans, jobs, clusters, events, logs, observations (SQLAlchemy; SQLite or PostgreSQL)."""

from sky_core.store.jobs import LeaseLost, NewEvent
from sky_core.store.records import TERMINAL, Cluster, Event, Job, JobState, Observation, Reach, Run, StoredPlan
from sky_core.store.store import Store

__all__ = [
    "TERMINAL",
    "Cluster",
    "Event",
    "Job",
    "JobState",
    "LeaseLost",
    "NewEvent",
    "Observation",
    "Reach",
    "Run",
    "Store",
    "StoredPlan",
]
