"""How Alembic runs the migrations: on the connection, and in the transaction, that ``schema.prepare`` hands over."""

from __future__ import annotations

from alembic import context

from sky_core.store.database.revision import VERSION_TABLE
from sky_core.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
context.run_migrations()
