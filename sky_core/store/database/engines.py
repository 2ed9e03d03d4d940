"""SQLAlchemy engines: how SQLite and PostgreSQL are spoken to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

BUSY_MS = 2000  # how long one attempt waits for another process's write lock
READS_ONLY = "sky_reads_only"  # execution option: this transaction writes nothing

# Sockets in PostgreSQL's care: find out within a minute that the server is gone, also in the middle of a query.
# Prepared statements do not survive a pooler such as PgBouncer between us and the server.
POSTGRES_ARGS = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3,
                 "tcp_user_timeout": 50_000, "prepare_threshold": None}  # fmt: skip
# A session whose client vanished must not hold locks for the hours that TCP would let it, nor wait for ever for one.
POSTGRES_LIMITS = "SET idle_in_transaction_session_timeout = '60s'; SET lock_timeout = '20s'"


def sqlite_engine(url: sa.URL, connections: int) -> sa.Engine:
    """An engine for a file of SQLite's, in WAL mode; ``connections`` at most."""
    arguments = {"timeout": BUSY_MS / 1000}
    engine = sa.create_engine(url, connect_args=arguments, poolclass=QueuePool, **_pool(connections))
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def postgres_engine(url: sa.URL, connections: int) -> sa.Engine:
    """An engine for a PostgreSQL database; ``connections`` at most."""
    arguments = {name: value for name, value in POSTGRES_ARGS.items() if name not in url.query}
    engine = sa.create_engine(
        url, connect_args=arguments, isolation_level="READ COMMITTED", pool_pre_ping=True, **_pool(connections)
    )
    sa.event.listen(engine, "connect", _configure_postgres)
    return engine


def _configure_postgres(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.execute(POSTGRES_LIMITS)
    connection.commit()


def _pool(connections: int) -> dict[str, Any]:
    return {"pool_size": connections, "max_overflow": 0, "pool_use_lifo": True}


def _configure_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that first reads and then writes can fail at once with SQLITE_BUSY, whatever the
    # time-out; taking the write lock at the start waits instead. Readers never need it.
    reads_only = connection.get_execution_options().get(READS_ONLY, False)
    connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")
