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

import sqlalchemy as sa

from sky_core.errors import StoreAway, StoreBusy
from sky_core.store.database.engines import READS_ONLY, postgres_engine, sqlite_engine
from sky_core.store.database.forks import Gate
from sky_core.store.database.urls import parse

CONNECTIONS = 4  # at most, per process and database; threads beyond that wait for their turn
TURN_S = 30.0  # how long they wait before it is called trouble


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
        """A transaction, committed at the end of the block. Waits for its turn; never begun inside another one.

        Raises:
            StoreBusy: if its turn does not come.
            sqlalchemy.exc.DBAPIError: what the database says.
        """
        with ExitStack() as turn:
            for queue in (self._writing, self._room) if writes else (self._room,):
                if not queue.acquire(timeout=TURN_S):
                    raise StoreBusy(f"the store {self.url.render_as_string()}: this process's connections are in use")
                turn.callback(queue.release)
            if self.is_sqlite:
                turn.enter_context(_gate.inside())
            connection = turn.enter_context(self._connectable().connect())
            db = connection.execution_options(**{READS_ONLY: not writes})
            with db.begin():
                yield db

    def _connectable(self) -> sa.Engine:
        with self._making:
            if self._engine is None:
                make = sqlite_engine if self.is_sqlite else postgres_engine
                self._engine = make(self.url, CONNECTIONS)
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
        SpecError, MissingExtra: from :func:`sky_core.store.database.urls.parse`.
        StoreAway: if the file is not there and cannot be made.
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
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # it is there, and may be in use: not ours to open
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        cure = "set SKYLOOM_HOME or store_url to a place that this user can write"
        raise StoreAway(f"the store {path} cannot be made: {error.strerror}", cure=cure) from None


def _file_id(url: sa.URL) -> tuple[int, int]:
    about = os.stat(str(url.database))
    return about.st_dev, about.st_ino


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
