"""The schema before there were versions. It also takes in a store that was made by then, whatever columns it lacks.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

revision = "0001"
down_revision = None

METADATA = MetaData()

Table("meta", METADATA, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

Table(
    "payloads",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

Table(
    "plans",
    METADATA,
    Column("key", String(500), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("plan", Text, nullable=False),
)

Table(
    "jobs",
    METADATA,
    Column("id", String(40), primary_key=True),
    Column("key", String(1000), nullable=False, unique=True),
    Column("plan_key", String(500), nullable=False),
    Column("task", String(200), nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("owner", String(200)),
    Column("attempt", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("wake_at", Float, nullable=False),
    Column("cancel_reason", Text),
    Column("memory", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("lease_holder", String(80)),
    Column("lease_until", Float, nullable=False),
    Index("jobs_due", "state", "wake_at"),
    Index("jobs_of_plan", "plan_key", "task"),
)

CLUSTERS = Table(
    "clusters",
    METADATA,
    Column("token", String(40), primary_key=True),
    Column("job_id", String(40), nullable=False, index=True),
    Column("attempt", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("cloud", String(40), nullable=False),
    Column("region", String(80), nullable=False),
    Column("zone", String(80)),
    Column("instance_type", String(80), nullable=False),
    Column("use_spot", Boolean, nullable=False),
    Column("num_nodes", Integer, nullable=False),
    Column("price", Float, nullable=False),
    Column("host_key", Text, nullable=False),
    Column("intended_at", Float, nullable=False),
    Column("launched_at", Float),
    Column("ended_at", Float),
    Column("instance_ids", Text, nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("accelerator", String(80)),
)

Table(
    "events",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(40), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("data", Text, nullable=False),
)

Table(
    "logs",
    METADATA,
    Column("job_id", String(40), primary_key=True),
    Column("offset", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

OBSERVATIONS = Table(
    "observations",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False, index=True),
    Column("cloud", String(40), nullable=False),
    Column("region", String(80), nullable=False),
    Column("zone", String(80)),
    Column("instance_type", String(80), nullable=False),
    Column("market", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("scope", String(20), nullable=False),
    Column("hours", Float),
    Column("accelerator", String(80)),
)

Table(
    "runs",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("pipeline", String(500), nullable=False, index=True),
    Column("task", String(200), nullable=False),
    Column("cloud", String(40), nullable=False),
    Column("region", String(80), nullable=False),
    Column("instance_type", String(80), nullable=False),
    Column("accelerator", String(80)),
    Column("accelerator_count", Float, nullable=False),
    Column("use_spot", Boolean, nullable=False),
    Column("hours", Float, nullable=False),
    Column("input_gb", Float, nullable=False),
)


def upgrade() -> None:
    METADATA.create_all(op.get_bind())
    for table in (CLUSTERS, OBSERVATIONS):  # the one column that was added to these stores on the way
        there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table.name)}
        if "accelerator" not in there:
            op.add_column(table.name, Column("accelerator", String(80)))
