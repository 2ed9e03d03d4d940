"""One method of the store is one transaction: the two decorators that make it so.

A transaction may be done anew as a whole, so that a method takes nothing as an argument that can be read once only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from sky_core.errors import SpecError
from sky_core.store.database.attempt import transact
from sky_core.store.database.database import Database
from sky_core.store.database.patience import Patience

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="Part")

# PostgreSQL's indexes hold 2,704 bytes a row, and one of them has a plan's key and a task's name.
LONGEST = {"key": 2000, "plan_key": 2000, "task": 500}


class Part:
    """What the parts of a store have in common.

    Attributes:
        _database: The connections that this process has to the database.
        _patience: How long trouble with it is waited out.
        _clock: Wall-clock time in seconds since the epoch, for what people read.
        _now: The store's own clock, for what processes compare.
    """

    _database: Database
    _patience: Patience
    _clock: Callable[[], float]
    _now: Callable[[sa.Connection], float]


def reads(method: Callable[Concatenate[S, sa.Connection, P], T]) -> Callable[Concatenate[S, P], T]:
    """The method gets a connection as its first argument, in a transaction that writes nothing."""
    return _within(method, writes=False)


def writes(method: Callable[Concatenate[S, sa.Connection, P], T]) -> Callable[Concatenate[S, P], T]:
    """The method gets a connection as its first argument; all of what it writes is kept, or nothing if it raises."""
    return _within(method, writes=True)


def _within(method: Callable[Concatenate[S, sa.Connection, P], T], *, writes: bool) -> Callable[Concatenate[S, P], T]:
    @functools.wraps(method)
    def in_transaction(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return transact(self._database, self._patience, lambda db: method(self, db, *args, **kwargs), writes=writes)

    return in_transaction


def insert_if_absent(db: sa.Connection, table: sa.Table, **values: Any) -> bool:
    """``INSERT … ON CONFLICT DO NOTHING``: the atomic create of plans, jobs and intents. True if it was not there.

    Told by what the statement returns: its count of rows is -1 with psycopg, whatever happened.
    """
    insert = _insert_of(db)
    statement = insert(table).values(**values).on_conflict_do_nothing().returning(sa.literal(1))
    return db.execute(statement).first() is not None


def upsert(db: sa.Connection, table: sa.Table, **values: Any) -> None:
    """Insert the row, or overwrite the one with the same primary key."""
    insert = _insert_of(db)
    key = list(table.primary_key.columns)
    rest = {name: value for name, value in values.items() if name not in table.primary_key.columns}
    db.execute(insert(table).values(**values).on_conflict_do_update(index_elements=key, set_=rest))


def _insert_of(db: sa.Connection) -> Callable[[sa.Table], Any]:
    """The dialect's own INSERT, imported where it is spoken: PostgreSQL's brings a module for each of its drivers."""
    if db.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as in_postgresql

        return in_postgresql
    from sqlalchemy.dialects.sqlite import insert as in_sqlite

    return in_sqlite


def refuse_odd(**texts: str | None) -> None:
    """Refuse names that PostgreSQL cannot hold, on SQLite as well.

    Raises:
        SpecError: if one of the texts has a NUL character in it, or is too long for an index.
    """
    for argument, text in texts.items():
        name = argument.replace("_", " ")
        if text is not None and "\0" in text:
            raise SpecError(f"{name}: {text[:80]!r} has a NUL character in it", cure="take it out")
        longest = LONGEST.get(argument)
        if text is not None and longest is not None and len(text.encode(errors="replace")) > longest:
            raise SpecError(f"{name}: {text[:80]!r}… is too long", cure=f"{longest} bytes at most")
