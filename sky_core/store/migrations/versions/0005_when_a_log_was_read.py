"""When each piece of a log was read, so that a reader can begin at a time.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("logs", sa.Column("at", sa.Float))
