"""Opening the database: SQLite in WAL mode by default, PostgreSQL by URL for a team."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import ConnectionPoolEntry

from sky_core.store.tables import META, METADATA


def open_engine(url: str) -> sa.Engine:
    """An engine with the tables in place. A SQLite file is made readable by its owner only."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        engine = sa.create_engine(parsed, pool_pre_ping=True)
        METADATA.create_all(engine)
        _add_columns(engine)
        return engine
    if parsed.database and parsed.database != ":memory:":
        path = Path(parsed.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = sa.create_engine(parsed, connect_args={"timeout": 30})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin)
    _create_tables(engine)
    _add_columns(engine)
    return engine


def _configure_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    # A deferred transaction that first reads and then writes can fail at once with SQLITE_BUSY, whatever the
    # time-out; taking the write lock at the start waits instead. Readers never need it.
    reads_only = connection.get_execution_options().get("sky_reads_only", False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")


def _create_tables(engine: sa.Engine) -> None:
    for attempt in range(5):
        try:
            METADATA.create_all(engine)
            return
        except sa.exc.OperationalError:  # another process creates them at the same moment
            if attempt == 4:
                raise
            time.sleep(0.1 * 2**attempt)


def _add_columns(engine: sa.Engine) -> None:
    """Add the columns that a store made by an earlier version lacks."""
    with engine.connect().execution_options(sky_reads_only=True) as connection:
        if not _missing_columns(connection):
            return
    unless_there = "IF NOT EXISTS " if engine.dialect.name == "postgresql" else ""  # SQLite's write lock sees to it
    with engine.begin() as connection:
        for column in _missing_columns(connection):
            kind = column.type.compile(engine.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {column.table} ADD COLUMN {unless_there}{column.name} {kind}")


def _missing_columns(connection: sa.Connection) -> list[sa.Column[Any]]:
    there = {name: {item["name"] for item in columns}
             for (_, name), columns in sa.inspect(connection).get_multi_columns().items()}  # fmt: skip
    return [column for table in METADATA.sorted_tables for column in table.c if column.name not in there[table.name]]


def insert_if_absent(engine: sa.Engine, table: sa.Table, **values: Any) -> Any:
    """``INSERT … ON CONFLICT DO NOTHING`` in the engine's dialect: the atomic create of plans, jobs and intents."""
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    return insert(table).values(**values).on_conflict_do_nothing()


def store_id(engine: sa.Engine) -> str:
    """The id of this store, made once: what its machines are tagged with."""
    with engine.begin() as connection:
        connection.execute(insert_if_absent(engine, META, key="id", value=f"sky-{uuid.uuid4().hex[:16]}"))
        value: str = connection.execute(sa.select(META.c.value).where(META.c.key == "id")).scalar_one()
    return value
