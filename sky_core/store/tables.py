"""The store's tables, the same on SQLite and PostgreSQL: JSON goes in as text, and no text has a length.

What is changed here is changed by a revision in ``migrations/versions`` as well. A new column is nullable or has a
server default: processes of the version before may go on writing while a store is upgraded.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

COUNTER = BigInteger().with_variant(Integer, "sqlite")  # 64 bits on both; SQLite counts up only what it calls INTEGER

META = Table("meta", METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

PAYLOADS = Table(
    "payloads",
    METADATA,
    Column("sha256", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("used_at", Float),  # when it was handed in last, to the hour; null: by an earlier version, so not known
)

PLANS = Table(
    "plans",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("plan", Text, nullable=False),
)

PLANNING = Table(  # who is making the plan of a key at present
    "planning",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Float, nullable=False),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("plan_key", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("owner", Text),
    Column("attempt", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("wake_at", Float, nullable=False),
    Column("cancel_reason", Text),
    Column("memory", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("lease_holder", Text),
    Column("lease_until", Float, nullable=False),
    Column("needs", Text),
    Column("profile", Text),
    Column("key_id", Text),
    Column("lease_epoch", Integer, nullable=False, server_default="0"),
    Index("jobs_due", "state", "wake_at"),
    Index("jobs_of_plan", "plan_key", "task"),
)

CLUSTERS = Table(
    "clusters",
    METADATA,
    Column("token", Text, primary_key=True),
    Column("job_id", Text, nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("cloud", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text),
    Column("instance_type", Text, nullable=False),
    Column("use_spot", Boolean, nullable=False),
    Column("num_nodes", Integer, nullable=False),
    Column("price", Float, nullable=False),
    Column("host_key", Text, nullable=False),
    Column("intended_at", Float, nullable=False),
    Column("launched_at", Float),
    Column("ended_at", Float),
    Column("instance_ids", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("accelerator", Text),
    Column("started_at", Float),
    Column("stopped_at", Float),
    Column("launched_as", Text),
    Column("kept_as", Text),
    Column("kept_at", Float),
    Column("kept_until", Float),
    Column("reservation", Text),
    Column("reserved_until", Float),
    Column("price_after", Float),
)

LAUNCHES = Table(
    "launches",
    METADATA,
    Column("token", Text, primary_key=True),
    Column("job_id", Text, nullable=False, index=True),
    Column("cloud", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text),
    Column("asked_at", Float, nullable=False),
    Column("settled_at", Float),
    Column("note", Text, nullable=False, server_default=""),
)

INTEREST = Table(
    "interest",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("who", Text, primary_key=True),
    Column("how", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("job_id", Text, nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", Text, nullable=False),
)

LOGS = Table(
    "logs",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("at", Float),  # when it was read; unknown of what an earlier version wrote
)

OBSERVATIONS = Table(
    "observations",
    METADATA,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("cloud", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("zone", Text),
    Column("instance_type", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("hours", Float),
    Column("accelerator", Text),
    Column("login", Text),
    Column("reservation", Text),
    Column("num_nodes", Integer, nullable=False, server_default="1"),
)

RUNS = Table(
    "runs",
    METADATA,
    Column("id", COUNTER, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("pipeline", Text, nullable=False, index=True),
    Column("task", Text, nullable=False),
    Column("cloud", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("instance_type", Text, nullable=False),
    Column("accelerator", Text),
    Column("accelerator_count", Float, nullable=False),
    Column("use_spot", Boolean, nullable=False),
    Column("hours", Float, nullable=False),
    Column("input_gb", Float, nullable=False),
)
