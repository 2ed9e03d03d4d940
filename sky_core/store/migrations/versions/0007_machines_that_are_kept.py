"""Machines that are kept after their job for the next one, and who had them before.

Revision: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for name, kind in (("launched_as", sa.Text), ("kept_as", sa.Text), ("kept_at", sa.Float), ("kept_until", sa.Float)):
        op.add_column("clusters", sa.Column(name, kind))
