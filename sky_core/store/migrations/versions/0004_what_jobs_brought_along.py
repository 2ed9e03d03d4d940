"""When a payload was handed in last, so that it can be forgotten; secrets of jobs that are over are forgotten now.

Revision: 0004
"""

from __future__ import annotations

import json
import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

JOBS = sa.table("jobs", sa.column("id", sa.Text), sa.column("state", sa.Text), sa.column("needs", sa.Text))


def upgrade() -> None:
    op.add_column("payloads", sa.Column("used_at", sa.Float))
    op.execute(sa.text("UPDATE payloads SET used_at = :now").bindparams(now=time.time()))
    over = JOBS.c.state.in_(("succeeded", "failed", "cancelled")) & JOBS.c.needs.contains('"sealed"')
    db = op.get_bind()
    for row in db.execute(sa.select(JOBS.c.id, JOBS.c.needs).where(over)).all():
        needs = {**json.loads(row.needs), "sealed": ""}
        db.execute(sa.update(JOBS).where(JOBS.c.id == row.id).values(needs=json.dumps(needs)))
