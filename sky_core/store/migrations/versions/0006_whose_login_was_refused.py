"""Whose login a cloud took or refused, so that one host's credentials keep nobody else out.

Revision: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("observations", sa.Column("login", sa.Text))
