"""One database as one process uses it: a single engine for all its stores, kept out of harm's way when it forks.

SQLite's locks belong to the process and the file: whoever opens and closes the file beside SQLite, if only to look
at it, drops the locks of every connection of the process, and the next process that leaves takes the write-ahead
log with it (https://www.sqlite.org/howtocorrupt.html, 2.2). So nothing here touches the file but SQLite, except to
create it. Nor may a connection be carried over a fork (2.6 there): a fork waits until no thread is inside SQLite,
and closes SQLite's connections first. PostgreSQL's sockets are left to the parent by the child, never closed.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from sky_core.store.forks import Gate
from sky_core.store.urls import parse

CONNECTIONS = 4  # at most, per process and database; threads beyond that wait for their turn
BUSY_MS = 5000  # how long one attempt waits for another process's write lock
READS_ONLY = "sky_reads_only"  # execution option: this transaction writes nothing

# Sockets in PostgreSQL's care: find out within a minute that the server is gone, also in the middle of a query.
# Prepared statements do not survive a pooler such as PgBouncer between us and the server.
POSTGRES_ARGS = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3,
                 "tcp_user_timeout": 50_000, "prepare_threshold": None}  # fmt: skip


class Database:
    """The connections of this process to one database. Made by :func:`share` only."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.file = _file_id(url) if self.is_sqlite else None
        self.users = 0
        self._start()

    def _start(self) -> None:
        self._engine: sa.Engine | None = None
        self._making = threading.RLock()  # reentrant, as the registry
        self._room = threading.Semaphore(CONNECTIONS)
        # SQLite has one writer at a time. The threads of a process queue up here, in order and without polling;
        # only between processes does SQLite's own waiting decide.
        self._writing = threading.Semaphore(1 if self.is_sqlite else CONNECTIONS)

    @contextmanager
    def begin(self, *, writes: bool) -> Iterator[sa.Connection]:
        """A transaction, committed at the end of the block. Waits for its turn; never begun inside another one."""
        with ExitStack() as turn:
            if writes:
                turn.enter_context(self._writing)
            turn.enter_context(self._room)
            if self.is_sqlite:
                turn.enter_context(_gate.inside())
            connection = turn.enter_context(self._connectable().connect())
            db = connection.execution_options(**{READS_ONLY: not writes})
            with db.begin():
                yield db

    def _connectable(self) -> sa.Engine:
        with self._making:
            if self._engine is None:
                self._engine = _sqlite(self.url) if self.is_sqlite else _postgres(self.url)
            return self._engine

    def close_connections(self) -> None:
        """Close the connections that no thread is using; the next transaction opens new ones."""
        with self._making:
            if self._engine is not None:
                self._engine.dispose()

    def leave_to_parent(self) -> None:
        """Begin anew in a forked child, and keep what was inherited, so that nothing ever closes it."""
        if self._engine is not None:
            _inherited.append(self._engine)
        self._start()


_gate = Gate()
_registry = threading.RLock()  # reentrant: a store may be collected, and so released, at any allocation
_shared: dict[sa.URL, Database] = {}
_open: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[sa.Engine] = []


def share(url: str) -> Database:
    """This process's database of that URL, made if need be. Each call is to be matched by one of :func:`release`.

    Raises:
        SpecError, MissingExtra: from :func:`sky_core.store.urls.parse`.
        OSError: if the file's folder cannot be made or written.
    """
    parsed = parse(url)
    with _registry:
        if parsed.get_backend_name() == "sqlite":
            _create_file(Path(str(parsed.database)))
        database = _shared.get(parsed)
        if database is None or database.file != (_file_id(parsed) if database.is_sqlite else None):
            database = _shared[parsed] = Database(parsed)  # a file that was removed and made again is another one
            _open.add(database)
        database.users += 1
        return database


def release(database: Database) -> None:
    """The counterpart of :func:`share`; the last one closes the connections."""
    with _registry:
        database.users -= 1
        if database.users == 0:
            if _shared.get(database.url) is database:
                del _shared[database.url]
            database.close_connections()


def _create_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # it is there, and may be in use: not ours to open
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _file_id(url: sa.URL) -> tuple[int, int]:
    about = os.stat(str(url.database))
    return about.st_dev, about.st_ino


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_MS / 1000}, poolclass=QueuePool, **_pool())
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres(url: sa.URL) -> sa.Engine:
    connect_args = {name: value for name, value in POSTGRES_ARGS.items() if name not in url.query}
    return sa.create_engine(
        url, connect_args=connect_args, isolation_level="READ COMMITTED", pool_pre_ping=True, **_pool()
    )


def _pool() -> dict[str, Any]:
    return {"pool_size": CONNECTIONS, "max_overflow": 0, "pool_use_lifo": True}


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


def _before_fork() -> None:
    _gate.close()
    _registry.acquire()
    for database in list(_open):
        if database.is_sqlite:
            database.close_connections()


def _after_fork_in_parent() -> None:
    _registry.release()
    _gate.open()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.RLock()
    _gate.renew()
    for database in list(_open):
        database.leave_to_parent()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
