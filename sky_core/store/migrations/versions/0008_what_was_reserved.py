"""Which reservation a launch was aimed at, until when and what is paid after; and which one refused how many.

Revision: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for table in ("clusters", "observations"):
        op.add_column(table, sa.Column("reservation", sa.Text))
    for name in ("reserved_until", "price_after"):
        op.add_column("clusters", sa.Column(name, sa.Float))
    op.add_column("observations", sa.Column("num_nodes", sa.Integer, nullable=False, server_default="1"))
