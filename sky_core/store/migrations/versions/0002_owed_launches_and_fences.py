"""Launches owed until accounted for, who wants a job, fenced leases, the clouds' own times; PostgreSQL like SQLite.

Revision: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# Columns with a length (or 32 bits) that SQLite never minded.
TEXTS = {
    "meta": ["key"],
    "payloads": ["sha256"],
    "plans": ["key"],
    "jobs": ["id", "key", "plan_key", "task", "state", "owner", "lease_holder"],
    "clusters": ["token", "job_id", "state", "cloud", "region", "zone", "instance_type", "outcome", "accelerator"],
    "events": ["job_id", "kind"],
    "logs": ["job_id"],
    "observations": ["cloud", "region", "zone", "instance_type", "market", "kind", "scope", "accelerator"],
    "runs": ["pipeline", "task", "cloud", "region", "instance_type", "accelerator"],
}
COUNTERS = ["events", "observations", "runs"]


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in TEXTS.items():
            for column in columns:
                op.alter_column(table, column, type_=sa.Text())
        op.alter_column("logs", "offset", type_=sa.BigInteger())
        for table in COUNTERS:
            op.alter_column(table, "id", type_=sa.BigInteger())
            op.execute(f"ALTER SEQUENCE {table}_id_seq AS bigint")
    for column in ("needs", "profile", "key_id"):
        op.add_column("jobs", sa.Column(column, sa.Text))
    op.add_column("jobs", sa.Column("lease_epoch", sa.Integer, nullable=False, server_default="0"))
    op.add_column("clusters", sa.Column("started_at", sa.Float))
    op.add_column("clusters", sa.Column("stopped_at", sa.Float))
    op.create_table(
        "launches",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("cloud", sa.Text, nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("zone", sa.Text),
        sa.Column("asked_at", sa.Float, nullable=False),
        sa.Column("settled_at", sa.Float),
        sa.Column("note", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("ix_launches_job_id", "launches", ["job_id"])
    op.create_table(
        "interest",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("who", sa.Text, primary_key=True),
        sa.Column("how", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
