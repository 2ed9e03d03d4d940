"""Durable state: plans, jobs, clusters, events, logs, observations (SQLAlchemy; SQLite or PostgreSQL)."""

from sky_core.store.records import TERMINAL, Cluster, Event, Job, JobState, Observation, Run
from sky_core.store.store import LeaseLost, Store

__all__ = ["TERMINAL", "Cluster", "Event", "Job", "JobState", "LeaseLost", "Observation", "Run", "Store"]
