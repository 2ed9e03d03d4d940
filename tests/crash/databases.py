"""A database for each trial, and what can befall it: locked by somebody else, full, away."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Protocol

import psycopg

from tests.postgres import Postgres, programs


class Database(Protocol):
    """The database of one trial. Each misfortune lasts ``seconds`` and is over when the call returns."""

    url: str

    def lock(self, seconds: float) -> None:
        """Let nobody else write."""

    def fill(self, seconds: float) -> None:
        """Let nothing be written."""

    def take_away(self, seconds: float) -> None:
        """Let nobody reach it."""


class Databases(Protocol):
    """Makes databases."""

    name: str

    def make(self, home: Path, *, alone: bool) -> Database:
        """A fresh one, empty; ``alone`` on its server, which may then be stopped."""

    def close(self) -> None:
        """Remove what all databases share."""


class SqliteFile:
    """A file in the trial's home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "skyloom.db"
        self.url = f"sqlite:///{self.path}"

    def lock(self, seconds: float) -> None:
        """Another connection holds the write lock."""
        with sqlite3.connect(self.path, timeout=60, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        connection.close()

    def fill(self, seconds: float) -> None:
        """The driver's connections may not make the file any longer (:mod:`tests.crash.inside.inject`)."""
        self._meanwhile("full", seconds)

    def take_away(self, seconds: float) -> None:
        """The driver's statements fail, as on a network disk that is gone (:mod:`tests.crash.inside.inject`)."""
        self._meanwhile("away", seconds)

    def _meanwhile(self, name: str, seconds: float) -> None:
        (self.home / name).touch()
        time.sleep(seconds)
        (self.home / name).unlink()


class Sqlite:
    """SQLite, the default."""

    name = "sqlite"

    def make(self, home: Path, *, alone: bool) -> SqliteFile:
        return SqliteFile(home)

    def close(self) -> None:
        pass


class PostgresDatabase:
    """A database of a server."""

    def __init__(self, server: Postgres, alone: bool) -> None:
        self.server, self.alone = server, alone
        self.url = server.database()
        self.name = self.url.partition("@/")[2].partition("?")[0]

    def lock(self, seconds: float) -> None:
        """Another session holds every table against everybody."""
        with psycopg.connect(self.url) as session:
            tables = session.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            session.execute(f"LOCK TABLE {', '.join(name for (name,) in tables)} IN ACCESS EXCLUSIVE MODE")  # type: ignore[call-overload]
            time.sleep(seconds)
            session.rollback()

    def fill(self, seconds: float) -> None:
        """The database may only be read, as a standby or one whose disk is full."""
        self._tell("ALTER DATABASE {} SET default_transaction_read_only = on")
        time.sleep(seconds)
        self._tell("ALTER DATABASE {} RESET default_transaction_read_only")

    def take_away(self, seconds: float) -> None:
        """The server crashes and comes back."""
        assert self.alone, "others are on this server"
        self.server.stop("immediate")
        time.sleep(seconds)
        self.server.start()

    def _tell(self, statement: str) -> None:
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as admin:
            admin.execute(statement.format(self.name))  # type: ignore[call-overload]
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,))


class PostgresServers:
    """PostgreSQL: a database for each trial on one server, and servers for those who need one alone."""

    name = "postgresql"

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.servers = [Postgres(programs)]

    def make(self, home: Path, *, alone: bool) -> PostgresDatabase:
        if not alone:
            return PostgresDatabase(self.servers[0], alone)
        self.servers.append(Postgres(self.programs))
        return PostgresDatabase(self.servers[-1], alone)

    def close(self) -> None:
        for server in self.servers:
            server.close()


def available() -> tuple[str, ...]:
    """The names of the databases that can be had on this host."""
    return ("sqlite",) if programs() is None else ("sqlite", "postgresql")


def named(name: str) -> Databases:
    """The databases of that name.

    Raises:
        ValueError: if there are none.
    """
    where = programs()
    if name == "sqlite":
        return Sqlite()
    if name != "postgresql" or where is None:
        raise ValueError(f"no {name} here: there are {', '.join(available())}")
    return PostgresServers(where)
