"""Bringing a database to the schema that this version of Skyloom works with."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from sky_core.store.database import Database
from sky_core.store.tables import META, METADATA
from sky_core.store.transactions import insert_if_absent

LOCK = 0x736B796C6F6F6D  # "skyloom": PostgreSQL's advisory lock for changes of the schema


def prepare(database: Database) -> str:
    """Create or upgrade the tables if need be; the store's id. Safe from many processes at once."""
    with database.begin(writes=False) as db:
        known = _known_id(db)
    if known is not None:
        return known
    with database.begin(writes=True) as db:
        if db.dialect.name == "postgresql":  # SQLite's write lock, held by now, does the same
            db.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        METADATA.create_all(db)
        _add_columns(db)
        insert_if_absent(db, META, key="id", value=f"sky-{uuid.uuid4().hex[:16]}")
        made = _known_id(db)
    assert made is not None
    return made


def _known_id(db: sa.Connection) -> str | None:
    if not sa.inspect(db).has_table(META.name) or _missing_columns(db):
        return None
    return db.execute(sa.select(META.c.value).where(META.c.key == "id")).scalar_one_or_none()


def _add_columns(db: sa.Connection) -> None:
    """Add the columns that a store made by an earlier version lacks."""
    for column in _missing_columns(db):
        kind = column.type.compile(db.dialect)
        db.exec_driver_sql(f"ALTER TABLE {column.table} ADD COLUMN {column.name} {kind}")


def _missing_columns(db: sa.Connection) -> list[sa.Column[Any]]:
    columns = sa.inspect(db).get_multi_columns()
    there = {(table, column["name"]) for (_, table), found in columns.items() for column in found}
    return [c for table in METADATA.sorted_tables for c in table.c if (table.name, c.name) not in there]
